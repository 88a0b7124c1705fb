//! The innermost loops: one panel times one block of rows.
//!
//! All read weights in ascending order and keep every sum in registers. The unsigned operand of an
//! 8-bit dot product is always the weight, so that one format of activations serves all; what the
//! weights' offset adds is known from the sum of the activations.
//!
//! Where there are matrix tiles ([`tiles`]) they take blocks of many rows of 8 bits, and all of
//! bfloat16. Weights with scales for 32 inputs have none of it: to scale each tile's sums takes about
//! as long as the dot products that it saves.
#![expect(unsafe_code, reason = "reads and writes by address")]

mod bf16;
mod int4;
mod int8;
mod int8_group;
mod tiled;

pub(super) use bf16::Bf16;
pub(super) use int4::Int4;
pub(super) use int8::Int8;
pub(super) use int8_group::Int8Group;

use super::layout::PANEL;
use crate::simd::tiles::{self, Shapes};
use crate::simd::{LANES, Simd};

/// Most rows that a block can have.
pub(super) const MAX_ROWS: usize = 2 * tiles::ROWS;

/// What one call reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operands {
    /// The panel.
    pub(super) weights: *const u8,
    /// The block of packed rows.
    pub(super) rows: *const u8,
    /// Chunks of 32 inputs.
    pub(super) chunks: usize,
    /// What is needed next.
    pub(super) ahead: Ahead,
}

/// What is asked for while a panel is multiplied: a little beside each step, as many requests at once
/// would hold up the loads between them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ahead {
    start: *const u8,
    /// Bytes from one request to the next.
    spacing: usize,
    /// Requests beside a tile, where that is not a constant.
    a_tile: usize,
}

/// A kind of packed weights.
pub(super) trait Weights: Copy {
    /// Requests for memory ahead beside each tile: one for each of its cache lines, or a few more.
    const REQUESTS: usize;

    /// How far ahead of one block's stream, in bytes: farther where less memory is read in a step.
    const DISTANCE: usize;

    /// Rows whose sums fit the registers.
    fn max_rows<S: Simd>() -> usize;

    /// Writes [R, 32] results to `out`.
    ///
    /// # Safety
    /// The addresses show a panel and a block of `R` rows of that many chunks, and room for the
    /// results.
    unsafe fn product<S: Simd, const R: usize>(operands: Operands, out: *mut f32);

    /// Fewest rows that matrix tiles take, if any.
    const TILE_ROWS: Option<usize> = None;

    /// [`product`](Self::product) by matrix tiles.
    ///
    /// # Safety
    /// As there, for `rows` rows, with the registers of [`shapes`].
    unsafe fn tile_product<S: Simd>(rows: usize, operands: Operands, out: *mut f32) {
        let _ = (rows, operands, out);
        unreachable!("not by tiles")
    }
}

/// Vectors of sums that a loop keeps. With 26 of 32 registers the 8-bit and bfloat16 loops fell to
/// two thirds of their speed on Zen 5, although nothing was spilled.
const fn sums_in_registers<S: Simd>() -> usize {
    S::REGISTERS * 3 / 4
}

impl Ahead {
    /// The `bytes` from `start` on, asked for beside so many tiles.
    pub(super) fn new(start: *const u8, bytes: usize, tiles: usize, a_tile: usize) -> Self {
        Self {
            start,
            spacing: bytes.div_ceil(tiles * a_tile),
            a_tile,
        }
    }

    /// The requests beside a step.
    #[inline(always)]
    fn prefetch<S: Simd, const COUNT: usize>(self, step: usize) {
        for request in 0..COUNT {
            self.request::<S>(step * COUNT + request);
        }
    }

    /// The requests beside a tile.
    #[inline(always)]
    fn prefetch_tile<S: Simd>(self, tile: usize) {
        for request in 0..self.a_tile {
            self.request::<S>(tile * self.a_tile + request);
        }
    }

    #[inline(always)]
    fn request<S: Simd>(self, index: usize) {
        S::prefetch(self.start.wrapping_add(index * self.spacing));
    }
}

/// [`Weights::product`] for a number of rows known at run time.
///
/// # Safety
/// As there, for `rows` rows of at most [`Weights::max_rows`].
#[inline(always)]
pub(super) unsafe fn product<S: Simd, W: Weights>(rows: usize, operands: Operands, out: *mut f32) {
    macro_rules! by_rows {
        ($($count:literal)*) => {
            match rows {
                // SAFETY: the caller's promise.
                $($count if $count <= W::max_rows::<S>() => unsafe {
                    W::product::<S, $count>(operands, out)
                },)*
                _ => unreachable!("a block of {rows} rows"),
            }
        };
    }
    by_rows!(1 2 3 4 5 6 7 8 9 10 11 12);
}

/// The tile registers for blocks of `rows` rows.
pub(super) fn shapes(rows: usize) -> Shapes {
    tiled::shapes(rows, tiles::ROW_BYTES)
}

/// # Safety
/// `from` shows four bytes.
#[inline(always)]
unsafe fn four<S: Simd>(from: *const u8) -> S::I {
    // SAFETY: the caller's promise.
    S::splat_i(unsafe { from.cast::<i32>().read_unaligned() })
}

/// # Safety
/// `from` shows a float.
#[inline(always)]
unsafe fn float<S: Simd>(from: *const u8) -> S::F {
    // SAFETY: the caller's promise.
    S::splat(unsafe { from.cast::<f32>().read_unaligned() })
}

/// # Safety
/// `out` has room for [R, 32].
#[inline(always)]
unsafe fn write<S: Simd, const R: usize>(sums: [[S::F; 2]; R], out: *mut f32) {
    for (row, sums) in sums.into_iter().enumerate() {
        for (half, sum) in sums.into_iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { S::store(out.add(row * PANEL + half * LANES), sum) };
        }
    }
}
