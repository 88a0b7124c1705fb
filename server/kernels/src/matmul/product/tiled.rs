//! Products by matrix tiles, for weights whose rows have no scales in between: two tiles of rows by
//! two of outputs, as a tile's product takes three times as long to arrive as to begin.
#![expect(unsafe_code, reason = "reads and writes by address")]

use super::super::layout::PANEL;
use super::Operands;
use crate::simd::Simd;
use crate::simd::tiles::{self, ROW_BYTES, ROWS, Shapes};

/// Bytes of weights that 64 bytes of a row of activations are multiplied with.
const STEP: usize = ROW_BYTES * PANEL;

/// Bytes between rows of weights: two vectors.
const WEIGHTS_STRIDE: usize = 2 * ROW_BYTES;

/// Bytes between rows of sums.
const SUMS_STRIDE: usize = 4 * PANEL;

/// Registers 0 to 3 for sums, 4 and 5 for rows, 6 and 7 for weights, of `bytes` a row.
pub(super) fn shapes(rows: usize, bytes: usize) -> Shapes {
    let (upper, lower) = (rows.min(ROWS), rows.saturating_sub(ROWS));
    let [sums, sums_below] = [(upper, 64), (lower, 64)];
    let [left, left_below] = [(upper, bytes), (lower, bytes)];
    let right = (bytes / 4, 64);
    Shapes::new([
        sums, sums, sums_below, sums_below, left, left_below, right, right,
    ])
}

/// Writes [rows, 32] sums of products over `steps` times 64 bytes of each row: floats of bfloat16, or
/// 32-bit integers of 8-bit codes.
///
/// # Safety
/// The operands have so many steps, `to` has room, and the registers are those of [`shapes`] for 64
/// bytes.
#[inline(always)]
pub(super) unsafe fn sums<S: Simd, const FLOAT: bool>(
    rows: usize,
    x: Operands,
    steps: usize,
    to: *mut u8,
) {
    // SAFETY: the caller's promise.
    unsafe {
        tiles::zero::<0>();
        tiles::zero::<1>();
        if rows > ROWS {
            tiles::zero::<2>();
            tiles::zero::<3>();
        }
        for step in 0..steps {
            let weights = x.weights.wrapping_add(step * STEP);
            let left = x.rows.wrapping_add(step * rows * ROW_BYTES);
            multiply::<FLOAT>(rows, left, weights);
            // Of bfloat16 a step is a tile of weights, of 8 bits two.
            let tiles = if FLOAT { 1 } else { 2 };
            for tile in step * tiles..(step + 1) * tiles {
                x.ahead.prefetch_tile::<S>(tile);
            }
        }
        store(rows, to);
    }
}

/// Adds products over the 32 codes of each row that are left to the sums at `to`. Changes the
/// registers' shapes.
///
/// # Safety
/// `left` shows rows of codes, 64 bytes apart, `weights` half a step's.
#[inline(always)]
pub(super) unsafe fn add_half_step(rows: usize, left: *const u8, weights: *const u8, to: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe {
        shapes(rows, ROW_BYTES / 2).set();
        tiles::load::<0>(to, SUMS_STRIDE);
        tiles::load::<1>(to.add(ROW_BYTES), SUMS_STRIDE);
        if rows > ROWS {
            let below = to.add(ROWS * SUMS_STRIDE);
            tiles::load::<2>(below, SUMS_STRIDE);
            tiles::load::<3>(below.add(ROW_BYTES), SUMS_STRIDE);
        }
        multiply::<false>(rows, left, weights);
        store(rows, to);
    }
}

#[inline(always)]
unsafe fn multiply<const FLOAT: bool>(rows: usize, left: *const u8, weights: *const u8) {
    macro_rules! dot {
        ($sum:literal, $left:literal, $right:literal) => {
            if FLOAT {
                tiles::dot_bf16::<$sum, $left, $right>();
            } else {
                tiles::dot_i8u8::<$sum, $left, $right>();
            }
        };
    }
    // SAFETY: the caller's promise.
    unsafe {
        tiles::load::<4>(left, ROW_BYTES);
        tiles::load::<6>(weights, WEIGHTS_STRIDE);
        dot!(0, 4, 6);
        tiles::load::<7>(weights.wrapping_add(ROW_BYTES), WEIGHTS_STRIDE);
        dot!(1, 4, 7);
        if rows > ROWS {
            tiles::load::<5>(left.wrapping_add(ROWS * ROW_BYTES), ROW_BYTES);
            dot!(2, 5, 6);
            dot!(3, 5, 7);
        }
    }
}

#[inline(always)]
unsafe fn store(rows: usize, to: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe {
        tiles::store::<0>(to, SUMS_STRIDE);
        tiles::store::<1>(to.add(ROW_BYTES), SUMS_STRIDE);
        if rows > ROWS {
            let below = to.add(ROWS * SUMS_STRIDE);
            tiles::store::<2>(below, SUMS_STRIDE);
            tiles::store::<3>(below.add(ROW_BYTES), SUMS_STRIDE);
        }
    }
}
