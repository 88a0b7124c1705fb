//! The innermost loops: one panel times one block of rows.
//!
//! All read weights in ascending order and keep every sum in registers. The unsigned operand of an
//! 8-bit dot product is always the weight, so that one format of activations serves all; what the
//! weights' offset adds is known from the sum of the activations.
//!
//! Where there are matrix tiles ([`tiles`]) they take blocks of many rows, and of bfloat16 all, with
//! the activations on the left and the weights, two tiles of 16 outputs, on the right.
#![expect(unsafe_code, reason = "reads and writes by address")]

mod bf16;
mod groups;
mod int4;
mod int8;
mod int8_group;

pub(super) use bf16::Bf16;
pub(super) use int4::Int4;
pub(super) use int8::Int8;
pub(super) use int8_group::Int8Group;

use super::layout::PANEL;
use crate::simd::tiles::{self, Shapes};
use crate::simd::{LANES, Simd};

/// Most rows that a block can have.
pub(super) const MAX_ROWS: usize = tiles::ROWS;

/// Rows from which on whole numbers are multiplied by matrix tiles.
const TILE_ROWS: usize = 7;

/// Bytes between rows of a tile's weights: two vectors.
const WEIGHTS_STRIDE: usize = 128;

/// Bytes between rows of results.
const OUT_STRIDE: usize = PANEL * 4;

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

    /// Fewest rows that matrix tiles take.
    const TILE_ROWS: usize = TILE_ROWS;

    /// The tile registers for blocks of that many rows.
    fn shapes(rows: usize) -> Shapes;

    /// [`product`](Self::product) by matrix tiles.
    ///
    /// # Safety
    /// As there, for `rows` rows, with the registers of [`shapes`](Self::shapes).
    unsafe fn tile_product<S: Simd>(rows: usize, operands: Operands, out: *mut f32);
}

/// Vectors of sums that a loop keeps. With 26 of 32 registers the 8-bit and bfloat16 loops fell to
/// two thirds of their speed on Zen 5, although nothing was spilled.
const fn sums_in_registers<S: Simd>() -> usize {
    S::REGISTERS * 3 / 4
}

impl Ahead {
    /// The `bytes` from `start` on, asked for in `requests`.
    pub(super) fn new(start: *const u8, bytes: usize, requests: usize) -> Self {
        Self {
            start,
            spacing: bytes.div_ceil(requests),
        }
    }

    /// The requests beside a step.
    #[inline(always)]
    fn prefetch<S: Simd, const COUNT: usize>(self, step: usize) {
        for request in 0..COUNT {
            let before = (step * COUNT + request) * self.spacing;
            S::prefetch(self.start.wrapping_add(before));
        }
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

/// Registers 0 and 1 for sums of `rows` rows, 4 for activations, 5 and 6 for weights, `bytes` a row of
/// activations; 2, 3 and 7 are the same for `tail` bytes.
fn shapes(rows: usize, bytes: usize, tail: usize) -> Shapes {
    let [sums, left, left_tail] = [(rows, 64), (rows, bytes), (rows, tail)];
    let [right, right_tail] = [(bytes / 4, 64), (tail / 4, 64)];
    Shapes::new([
        sums, sums, left_tail, right_tail, left, right, right, right_tail,
    ])
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
