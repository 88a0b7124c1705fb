//! Keys and values as bfloat16, multiplied in pairs.

use super::PAGE_TOKENS;
use super::block::{Addresses, Block};
use super::cells::{Cells, SCORE_STRIDE, WEIGHT_STRIDE, prefetch};
use super::layout::{KvLayout, MAX_DIM};
use super::softmax::Valid;
use crate::norm::vectors;
use crate::simd::{LANES, Simd};

/// Bytes of a vector, which are those of 16 pairs.
const VECTOR: usize = 64;

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
}
