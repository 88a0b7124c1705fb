//! Asking for keys and values before they are read.
//!
//! They come in the order of memory, keys and values of a page together, while a block needs first
//! the keys of all its pages and then the values. The stream of requests is spread evenly over the
//! work, so it must be more than half a block ahead.

use std::ops::Range;

use super::attend::LayerAttention;
use super::plan::{Piece, Tile};
use super::{BLOCK, PAGE_TOKENS};
use crate::simd::Simd;

/// Halves of pages (keys, or values) asked for in advance. From 8 to 16 all are as good; without, half
/// the memory's speed is lost on pages in random order.
const LEAD: usize = 12;

/// The pages that a thread reads, in its order.
pub(super) struct Ahead<'a> {
    layer: &'a LayerAttention<'a>,
    rest: std::slice::Iter<'a, Piece>,
    tile: Option<&'a Tile>,
    /// Pages of the tile, counted in its table.
    pages: Range<usize>,
    /// Values of the page whose keys were the last.
    values: Option<*const u8>,
}

impl<'a> Ahead<'a> {
    pub(super) fn new(layer: &'a LayerAttention<'a>, pieces: &'a [Piece]) -> Self {
        Self {
            layer,
            rest: pieces.iter(),
            tile: None,
            pages: 0..0,
            values: None,
        }
    }

    /// Asks for the first ones.
    #[inline(always)]
    pub(super) fn start<S: Simd>(&mut self) {
        for _ in 0..LEAD {
            let Some(half) = self.next() else { return };
            for line in (0..self.layer.pages.layout().half_bytes()).step_by(64) {
                S::prefetch(half.wrapping_add(line));
            }
        }
    }

    /// Address of the keys of the next page, then of its values.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Option<*const u8> {
        if let Some(values) = self.values.take() {
            return Some(values);
        }
        let keys = self.next_page()?;
        self.values = Some(keys.wrapping_add(self.layer.pages.layout().half_bytes()));
        Some(keys)
    }

    #[inline(always)]
    fn next_page(&mut self) -> Option<*const u8> {
        let plan = self.layer.plan;
        loop {
            if let (Some(tile), Some(page)) = (self.tile, self.pages.next()) {
                let id = plan.table(tile)[page] as usize;
                // SAFETY: the plan's tables name pages that are there.
                let keys = unsafe { self.layer.pages.keys(id, self.layer.layer, tile.kv_head) };
                return Some(keys);
            }
            let piece = self.rest.next()?;
            let tile = plan.tile(piece.tile);
            let start = tile.keys.start.max(piece.blocks.start * BLOCK);
            let end = tile.keys.end.min(piece.blocks.end * BLOCK);
            self.tile = Some(tile);
            self.pages = start / PAGE_TOKENS..end.div_ceil(PAGE_TOKENS);
        }
    }
}
