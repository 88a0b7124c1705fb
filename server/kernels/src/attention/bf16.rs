//! Keys and values as bfloat16, multiplied in pairs.

use std::ops::Range;

use super::PAGE_TOKENS;
use super::block::{Addresses, Block};
use super::cells::{Cells, SCORE_STRIDE, WEIGHT_STRIDE, prefetch};
use super::layout::{KvLayout, MAX_DIM};
use super::softmax::Valid;
use crate::norm::vectors;
use crate::simd::tiles::{self, ROW_BYTES, ROWS, Shapes};
use crate::simd::{LANES, Simd};

/// Bytes of a vector, which are those of 16 pairs.
const VECTOR: usize = 64;

/// Bytes between pairs of a page's keys: those of 32 tokens.
const KEYS_STRIDE: usize = 2 * VECTOR;

/// Values that tiles sum at once.
const VECTORS: usize = 4;

/// Rows of what tiles read or write beside the pages: results, or pairs of values.
#[repr(align(64))]
struct Room([[u8; VECTORS * ROW_BYTES]; ROWS]);

pub(super) struct Bf16;

/// Rounds a head, padded with zeros.
#[inline(always)]
fn round<S: Simd>(head: &[f32], to: &mut [u16; MAX_DIM]) {
    for (start, count) in vectors(head.len()) {
        // SAFETY: `count` values from `start` on are in both, and a whole vector in `to`.
        unsafe {
            let values = S::load_first(head.as_ptr().add(start), count);
            S::store_bf16(to.as_mut_ptr().add(start), values);
        }
    }
}

impl Cells for Bf16 {
    const ACCUMULATORS: usize = 1;

    #[inline(always)]
    unsafe fn write<S: Simd>(layout: &KvLayout, page: *mut u8, token: usize, kv: [&[f32]; 2]) {
        let mut halves = [0; MAX_DIM];
        let dim = layout.dim();
        round::<S>(kv[0], &mut halves);
        // SAFETY: the page's keys are [D / 2][32][2] and its values [16][D][2].
        unsafe {
            let keys: *mut [u16; 2] = page.cast();
            for (pair, values) in halves[..dim].as_chunks::<2>().0.iter().enumerate() {
                *keys.add(pair * PAGE_TOKENS + token) = *values;
            }
            round::<S>(kv[1], &mut halves);
            let values: *mut u16 = page.add(layout.half_bytes()).cast();
            let pairs = values.add(token / 2 * dim * 2);
            for (i, &value) in halves[..dim].iter().enumerate() {
                if token.is_multiple_of(2) {
                    // The odd token's place must hold a number: its weight is 0 until it comes.
                    *pairs.cast::<[u16; 2]>().add(i) = [value, 0];
                } else {
                    *pairs.add(2 * i + 1) = value;
                }
            }
        }
    }

    #[inline(always)]
    fn query_bytes(dim: usize) -> usize {
        2 * dim
    }

    #[inline(always)]
    unsafe fn pack_query<S: Simd>(layout: &KvLayout, query: &[f32], to: *mut u8) {
        let mut halves = [0; MAX_DIM];
        round::<S>(query, &mut halves);
        // SAFETY: the caller's promise.
        unsafe { std::ptr::copy_nonoverlapping(halves.as_ptr(), to.cast(), layout.dim()) }
    }

    #[inline(always)]
    unsafe fn scores<S: Simd, const R: usize>(
        block: &Block,
        page: usize,
        queries: *const u8,
        ahead: &Addresses,
        to: *mut f32,
    ) {
        let (dim, keys, ahead) = (block.dim, block.keys(page), ahead[page]);
        let mut sums = [[S::splat(0.0); 2]; R];
        // SAFETY: R queries of `dim` values, keys of a page, R rows of scores.
        unsafe {
            for pair in 0..dim / 2 {
                let at = keys.add(pair * 2 * VECTOR);
                prefetch::<S, 2>(ahead.wrapping_add(pair * 2 * VECTOR));
                let keys = [S::load_i(at), S::load_i(at.add(VECTOR))];
                for (row, sums) in sums.iter_mut().enumerate() {
                    let query: *const i32 = queries.add(row * 2 * dim).cast();
                    let query = S::splat_i(query.add(pair).read_unaligned());
                    sums[0] = S::dot_bf16(sums[0], keys[0], query);
                    sums[1] = S::dot_bf16(sums[1], keys[1], query);
                }
            }
            for (row, sums) in sums.into_iter().enumerate() {
                let to = to.add(row * SCORE_STRIDE);
                S::store(to, sums[0]);
                S::store(to.add(LANES), sums[1]);
            }
        }
    }

    #[inline(always)]
    unsafe fn weight_factor<S: Simd>(_: &Block, _: Valid, _: *mut u8) -> S::F {
        S::splat(1.0)
    }

    #[inline(always)]
    unsafe fn put_weights<S: Simd>(
        _: &Block,
        (row, vector): (*mut u8, usize),
        weights: S::F,
        _: S::F,
        _: u16,
    ) {
        // SAFETY: a row has room for a block's weights.
        unsafe { S::store_bf16(row.cast::<u16>().add(vector * LANES), weights) }
    }

    #[inline(always)]
    unsafe fn values<S: Simd, const R: usize, const V: usize>(
        block: &Block,
        weights: *const u8,
        vector: usize,
        ahead: &Addresses,
        to: &[*mut f32],
    ) {
        let mut sums = [[S::splat(0.0); V]; R];
        let pair_bytes = block.dim * 4;
        // SAFETY: V vectors of every pair of a valid page's values, R rows of weights and results.
        unsafe {
            for (page, pairs) in block.groups(2) {
                let values = block.values(page).add(vector * VECTOR);
                let ahead = ahead[page].wrapping_add(vector * VECTOR);
                let weights: *const i32 = weights.add(page * PAGE_TOKENS * 2).cast();
                for pair in pairs {
                    let at = values.add(pair * pair_bytes);
                    prefetch::<S, V>(ahead.wrapping_add(pair * pair_bytes));
                    let values: [_; V] = std::array::from_fn(|i| S::load_i(at.add(i * VECTOR)));
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let weight = weights.byte_add(row * WEIGHT_STRIDE).add(pair);
                        let weight = S::splat_i(weight.read_unaligned());
                        for (sum, value) in sums.iter_mut().zip(values) {
                            *sum = S::dot_bf16(*sum, value, weight);
                        }
                    }
                }
            }
            for (sums, &to) in sums.into_iter().zip(to) {
                for (i, sum) in sums.into_iter().enumerate() {
                    S::store(to.add((vector + i) * LANES), sum);
                }
            }
        }
    }

    /// Tiles round otherwise than vectors, so they take all rows.
    const TILE_ROWS: usize = 1;

    const TILE_VECTORS: usize = VECTORS;

    /// Registers 0 and 1 for sums, 4 for queries, 5 and 6 for keys, 2, 3 and 7 for the same of 16
    /// values at the end of a head.
    fn score_shapes(_: usize, rows: usize) -> Shapes {
        let [sums, left, left_tail] = [(rows, 64), (rows, 64), (rows, 32)];
        let [right, right_tail] = [(16, 64), (8, 64)];
        Shapes::new([
            sums, sums, left_tail, right_tail, left, right, right, right_tail,
        ])
    }

    /// Registers 0 to 3 for sums, 4 for weights, 5 to 7 for values.
    fn value_shapes(rows: usize) -> Shapes {
        let [sums, values] = [(rows, 64), (16, 64)];
        Shapes::new([sums, sums, sums, sums, sums, values, values, values])
    }

    #[inline(always)]
    unsafe fn tile_scores<S: Simd>(
        _: usize,
        block: &Block,
        page: usize,
        ahead: &Addresses,
        (queries, to): (*const u8, *mut f32),
    ) {
        let (dim, keys, ahead) = (block.dim, block.keys(page), ahead[page]);
        let step_bytes = 16 * KEYS_STRIDE;
        // SAFETY: the registers' rows of queries, keys of a page, as many rows of scores.
        unsafe {
            tiles::zero::<0>();
            tiles::zero::<1>();
            for step in 0..dim / 32 {
                let keys = keys.add(step * step_bytes);
                tiles::load::<4>(queries.add(step * ROW_BYTES), 2 * dim);
                tiles::load::<5>(keys, KEYS_STRIDE);
                tiles::dot_bf16::<0, 4, 5>();
                tiles::load::<6>(keys.add(VECTOR), KEYS_STRIDE);
                tiles::dot_bf16::<1, 4, 6>();
                prefetch::<S, 32>(ahead.wrapping_add(step * step_bytes));
            }
            if dim % 32 != 0 {
                let done = dim / 32;
                let keys = keys.add(done * step_bytes);
                tiles::load::<2>(queries.add(done * ROW_BYTES), 2 * dim);
                tiles::load::<3>(keys, KEYS_STRIDE);
                tiles::dot_bf16::<0, 2, 3>();
                tiles::load::<7>(keys.add(VECTOR), KEYS_STRIDE);
                tiles::dot_bf16::<1, 2, 7>();
                prefetch::<S, 16>(ahead.wrapping_add(done * step_bytes));
            }
            tiles::store::<0>(to.cast(), 4 * SCORE_STRIDE);
            tiles::store::<1>(to.add(LANES).cast(), 4 * SCORE_STRIDE);
        }
    }

    #[inline(always)]
    unsafe fn tile_values<S: Simd>(
        block: &Block,
        weights: *const u8,
        vectors: Range<usize>,
        ahead: &Addresses,
        to: &[*mut f32],
    ) {
        let (count, start) = (vectors.len(), vectors.start * VECTOR);
        let pair_bytes = block.dim * 4;
        let mut room = Room([[0; VECTORS * ROW_BYTES]; ROWS]);
        // SAFETY: the registers' rows of weights, values of a valid page, rows of results.
        unsafe {
            tiles::zero::<0>();
            tiles::zero::<1>();
            tiles::zero::<2>();
            tiles::zero::<3>();
            for (page, pairs) in block.groups(2) {
                let (mut values, mut stride) = (block.values(page).add(start), pair_bytes);
                for pair in pairs.clone() {
                    prefetch::<S, VECTORS>(ahead[page].wrapping_add(start + pair * pair_bytes));
                }
                if pairs != (0..ROWS) {
                    // Beyond valid keys there may be anything, which a weight of 0 does not undo.
                    room.0 = [[0; VECTORS * ROW_BYTES]; ROWS];
                    for pair in pairs {
                        let from = values.add(pair * pair_bytes);
                        from.copy_to_nonoverlapping(room.0[pair].as_mut_ptr(), count * VECTOR);
                    }
                    (values, stride) = (room.0.as_ptr().cast(), VECTORS * ROW_BYTES);
                }
                tiles::load::<4>(weights.add(page * PAGE_TOKENS * 2), WEIGHT_STRIDE);
                tiles::load::<5>(values, stride);
                tiles::dot_bf16::<0, 4, 5>();
                if count > 1 {
                    tiles::load::<6>(values.add(VECTOR), stride);
                    tiles::dot_bf16::<1, 4, 6>();
                }
                if count > 2 {
                    tiles::load::<7>(values.add(2 * VECTOR), stride);
                    tiles::dot_bf16::<2, 4, 7>();
                }
                if count > 3 {
                    tiles::load::<5>(values.add(3 * VECTOR), stride);
                    tiles::dot_bf16::<3, 4, 5>();
                }
            }
            let results = room.0.as_mut_ptr().cast::<u8>();
            tiles::store::<0>(results, VECTORS * ROW_BYTES);
            tiles::store::<1>(results.add(ROW_BYTES), VECTORS * ROW_BYTES);
            tiles::store::<2>(results.add(2 * ROW_BYTES), VECTORS * ROW_BYTES);
            tiles::store::<3>(results.add(3 * ROW_BYTES), VECTORS * ROW_BYTES);
            for (row, &to) in room.0.iter().zip(to) {
                for i in 0..count {
                    let sum = S::load(row.as_ptr().add(i * ROW_BYTES).cast());
                    S::store(to.add((vectors.start + i) * LANES), sum);
                }
            }
        }
    }
}
