//! Products of a tile's rows with a block, in blocks of rows that fit the registers.

use super::PAGE_TOKENS;
use super::block::{Addresses, Block};
use super::cells::{Cells, SCORE_STRIDE, WEIGHT_STRIDE};
use crate::simd::{LANES, Simd, tiles};

/// Rows of a register block for scores: times two vectors of keys.
const fn score_block<S: Simd>() -> usize {
    if S::REGISTERS >= 32 { 12 } else { 3 }
}

/// Vectors of values of a register block.
const fn value_width<S: Simd>() -> usize {
    if S::REGISTERS >= 32 { 4 } else { 2 }
}

/// Rows of a register block for values.
const fn value_block<S: Simd, C: Cells>() -> usize {
    let rows = if S::REGISTERS >= 32 { 6 } else { 3 };
    rows / C::ACCUMULATORS
}

/// Scores of packed queries with the block's pages that hold a valid key.
///
/// # Safety
/// `queries` shows `num_rows` packed queries, `to` as many rows of scores.
#[inline(always)]
pub(super) unsafe fn scores<S: Simd, C: Cells>(
    num_rows: usize,
    block: &Block,
    queries: *const u8,
    to: *mut f32,
) {
    if S::TILES && num_rows >= C::TILE_ROWS {
        // SAFETY: the caller's promise.
        return unsafe { scores_by_tiles::<S, C>(num_rows, block, queries, to) };
    }
    for page in block.valid.pages() {
        for (first, count) in row_blocks(num_rows, score_block::<S>()) {
            // SAFETY: the caller's promise.
            unsafe {
                let queries = queries.add(first * C::query_bytes(block.dim));
                let to = to.add(first * SCORE_STRIDE + page * PAGE_TOKENS);
                let at = (page, block.ahead(0, first == 0));
                score_rows::<S, C>(count, block, at, queries, to);
            }
        }
    }
}

/// Weighted values of the rows whose results go to `to`.
///
/// # Safety
/// `weights` shows a row for each of `to`, which have room for the values.
#[inline(always)]
pub(super) unsafe fn values<S: Simd, C: Cells>(block: &Block, weights: *const u8, to: &[*mut f32]) {
    if S::TILES && to.len() >= C::TILE_ROWS {
        // SAFETY: the caller's promise.
        return unsafe { values_by_tiles::<S, C>(block, weights, to) };
    }
    let vectors = block.dim / LANES;
    let mut vector = 0;
    while vector < vectors {
        let width = match vectors - vector {
            rest if rest >= value_width::<S>() => value_width::<S>(),
            2.. => 2,
            _ => 1,
        };
        for (first, count) in row_blocks(to.len(), value_block::<S, C>()) {
            let to = &to[first..first + count];
            // SAFETY: the caller's promise.
            unsafe {
                let weights = weights.add(first * WEIGHT_STRIDE);
                let at = (vector, block.ahead(1, first == 0));
                match width {
                    4 => value_rows::<S, C, 4>(block, at, weights, to),
                    2 => value_rows::<S, C, 2>(block, at, weights, to),
                    _ => value_rows::<S, C, 1>(block, at, weights, to),
                }
            }
        }
        vector += width;
    }
}

/// # Safety
/// That of [`scores`].
#[inline(always)]
unsafe fn scores_by_tiles<S: Simd, C: Cells>(
    num_rows: usize,
    block: &Block,
    queries: *const u8,
    to: *mut f32,
) {
    for (first, count) in row_blocks(num_rows, tiles::ROWS) {
        // SAFETY: the caller's promise.
        unsafe {
            C::score_shapes(block.dim, count).set();
            let queries = queries.add(first * C::query_bytes(block.dim));
            let ahead = block.ahead(0, first == 0);
            for page in block.valid.pages() {
                let to = to.add(first * SCORE_STRIDE + page * PAGE_TOKENS);
                C::tile_scores::<S>(count, block, page, ahead, (queries, to));
            }
        }
    }
}

/// # Safety
/// That of [`values`].
#[inline(always)]
unsafe fn values_by_tiles<S: Simd, C: Cells>(block: &Block, weights: *const u8, to: &[*mut f32]) {
    let vectors = block.dim / LANES;
    for (first, count) in row_blocks(to.len(), tiles::ROWS) {
        // SAFETY: the caller's promise.
        unsafe {
            C::value_shapes(count).set();
            let weights = weights.add(first * WEIGHT_STRIDE);
            let (ahead, to) = (block.ahead(1, first == 0), &to[first..first + count]);
            for vector in (0..vectors).step_by(C::TILE_VECTORS) {
                let vectors = vector..vectors.min(vector + C::TILE_VECTORS);
                C::tile_values::<S>(block, weights, vectors, ahead, to);
            }
        }
    }
}

/// Cuts rows into blocks of about the same size: first row and number.
#[inline(always)]
fn row_blocks(rows: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let count = rows.div_ceil(most);
    (0..count).map(move |i| {
        let first = rows * i / count;
        (first, rows * (i + 1) / count - first)
    })
}

#[inline(always)]
unsafe fn score_rows<S: Simd, C: Cells>(
    rows: usize,
    block: &Block,
    (page, ahead): (usize, &Addresses),
    queries: *const u8,
    to: *mut f32,
) {
    macro_rules! with {
        ($($count:literal)*) => {
            match rows {
                // SAFETY: the caller's promise.
                $($count => unsafe { C::scores::<S, $count>(block, page, queries, ahead, to) },)*
                _ => unreachable!("row blocks are bounded"),
            }
        };
    }
    if score_block::<S>() == 12 {
        with!(1 2 3 4 5 6 7 8 9 10 11 12);
    } else {
        with!(1 2 3);
    }
}

#[inline(always)]
unsafe fn value_rows<S: Simd, C: Cells, const V: usize>(
    block: &Block,
    (vector, ahead): (usize, &Addresses),
    weights: *const u8,
    to: &[*mut f32],
) {
    macro_rules! with {
        ($($count:literal)*) => {
            match to.len() {
                // SAFETY: the caller's promise.
                $($count => unsafe { C::values::<S, $count, V>(block, weights, vector, ahead, to) },)*
                _ => unreachable!("row blocks are bounded"),
            }
        };
    }
    if value_block::<S, C>() == 6 {
        with!(1 2 3 4 5 6);
    } else {
        with!(1 2 3);
    }
}
