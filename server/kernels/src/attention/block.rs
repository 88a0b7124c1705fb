//! One block of keys and values, as one sequence's table shows it.

use std::ops::Range;

use super::ahead::Ahead;
use super::layout::Pages;
use super::softmax::Valid;
use super::{BLOCK_PAGES, PAGE_TOKENS};
use crate::simd::{LANES, Simd};

/// An address for each page of a block.
pub(super) type Addresses = [*const u8; BLOCK_PAGES];

/// Addresses of a block in one layer and head.
pub(super) struct Block {
    pub(super) dim: usize,
    half_bytes: usize,
    /// Keys of each page that holds a valid one; the values follow.
    keys: Addresses,
    /// What is asked for meanwhile, by the page in work: see [`Ahead`].
    ahead: [Addresses; 2],
    /// What some row of the tile may see, counted from the block's first key. Beyond it nothing is
    /// read but the rest of a page's scores, which masks drop.
    pub(super) valid: Valid,
}

impl Block {
    /// The block `index` of a sequence whose pages are `table`, for a tile that may see `keys`.
    ///
    /// # Safety
    /// The table's pages that hold `keys` are there, and layer and head are.
    pub(super) unsafe fn new(
        pages: &Pages,
        (layer, head): (usize, usize),
        table: &[u32],
        index: usize,
        keys: &Range<usize>,
    ) -> Self {
        let valid = Valid::in_block(index, keys);
        let mut addresses = [std::ptr::null(); BLOCK_PAGES];
        for page in valid.pages() {
            let id = table[index * BLOCK_PAGES + page] as usize;
            // SAFETY: the caller's promise.
            addresses[page] = unsafe { pages.keys(id, layer, head) };
        }
        Self {
            dim: pages.layout().dim(),
            half_bytes: pages.layout().half_bytes(),
            keys: addresses,
            ahead: [addresses; 2],
            valid,
        }
    }

    /// Takes what to ask for while this block is in work.
    #[inline(always)]
    pub(super) fn look_ahead(&mut self, ahead: &mut Ahead<'_>) {
        for phase in &mut self.ahead {
            for page in self.valid.pages() {
                if let Some(half) = ahead.next() {
                    phase[page] = half;
                }
            }
        }
    }

    /// What to ask for in a phase, scores (0) or values (1): once; then what is in the cache already.
    #[inline(always)]
    pub(super) fn ahead(&self, phase: usize, is_first: bool) -> &Addresses {
        if is_first {
            &self.ahead[phase]
        } else {
            &self.keys
        }
    }

    /// Keys of a page that holds a valid one.
    #[inline(always)]
    pub(super) fn keys(&self, page: usize) -> *const u8 {
        self.keys[page]
    }

    /// Values of a page that holds a valid one.
    #[inline(always)]
    pub(super) fn values(&self, page: usize) -> *const u8 {
        self.keys[page].wrapping_add(self.half_bytes)
    }

    /// Vectors of 16 keys whose weights are read: those with a valid key, or all of their pages.
    #[inline(always)]
    pub(super) fn weighed<S: Simd>(&self) -> Range<usize> {
        const PER_PAGE: usize = PAGE_TOKENS / LANES;
        if S::TILES {
            let pages = self.valid.pages();
            pages.start * PER_PAGE..pages.end * PER_PAGE
        } else {
            self.valid.vectors()
        }
    }

    /// Pages with a valid key, each with its first and last group of `size` tokens that has one.
    #[inline(always)]
    pub(super) fn groups(&self, size: usize) -> impl Iterator<Item = (usize, Range<usize>)> {
        let first = self.valid.start / size;
        let end = self.valid.end.div_ceil(size);
        let per_page = PAGE_TOKENS / size;
        self.valid.pages().map(move |page| {
            let from = first.max(page * per_page) - page * per_page;
            let to = end.min((page + 1) * per_page) - page * per_page;
            (page, from..to)
        })
    }
}
