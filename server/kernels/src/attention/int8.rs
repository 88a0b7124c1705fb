//! Keys and values of 8 bits, multiplied in fours.
//!
//! A token's keys and values have a scale each. Products are sums of integers, hence exact in any
//! order. The unsigned operand is the keys, biased by 128, and on the other side the weights, which
//! are 16 bits in two planes of 8: times their value's scale, and over the largest such scale of the
//! block.

use std::ops::Range;

use super::PAGE_TOKENS;
use super::block::{Addresses, Block};
use super::cells::{Cells, SCORE_STRIDE, WEIGHT_STRIDE, prefetch};
use super::codes::{quantize, quantize_rotated};
use super::layout::{KvLayout, MAX_DIM};
use super::softmax::Valid;
use crate::simd::tiles::{self, ROW_BYTES, ROWS, Shapes};
use crate::simd::{LANES, Simd};

/// Bytes of a vector, which are those of 16 fours.
const VECTOR: usize = 64;

/// Bytes between fours of a page's keys: those of 32 tokens.
const KEYS_STRIDE: usize = 2 * VECTOR;

/// Sums of high and low planes of two vectors of values, for each row.
#[repr(align(64))]
struct Sums([[i32; 4 * LANES]; ROWS]);

/// What keys are stored plus.
const BIAS: i32 = 128;

/// Offset of the low plane of a row's weights.
const LOW_PLANE: usize = super::BLOCK;

/// Offset of a row's factor after its weights.
const FACTOR: usize = 2 * super::BLOCK;

/// The largest weight.
const WHOLE: f32 = 65535.0;

pub(super) struct Int8;

/// Address of a page's 32 scales, of keys or of values, from that of their codes.
#[inline(always)]
fn scales(codes: *const u8, dim: usize) -> *const f32 {
    codes.wrapping_add(PAGE_TOKENS * dim).cast()
}

impl Cells for Int8 {
    const ACCUMULATORS: usize = 2;

    #[inline(always)]
    unsafe fn write<S: Simd>(layout: &KvLayout, page: *mut u8, token: usize, kv: [&[f32]; 2]) {
        let mut codes = [0; MAX_DIM];
        let dim = layout.dim();
        // SAFETY: the page's keys are [D / 4][32][4], its values [32 / 4][D][4], each with 32 scales.
        unsafe {
            let scale = quantize_rotated::<S>(kv[0], &mut codes);
            scales(page, dim).cast_mut().add(token).write(scale);
            let keys: *mut [u8; 4] = page.cast();
            for (four, values) in codes[..dim].as_chunks::<4>().0.iter().enumerate() {
                let biased = values.map(|code| (i32::from(code) + BIAS) as u8);
                *keys.add(four * PAGE_TOKENS + token) = biased;
            }
            let page = page.add(layout.half_bytes());
            let scale = quantize::<S>(kv[1], &mut codes);
            // Makes the largest of a block infinite, where NaN would be lost.
            let scale = if scale.is_nan() { f32::INFINITY } else { scale };
            scales(page, dim).cast_mut().add(token).write(scale);
            let values: *mut i8 = page.add(token / 4 * dim * 4).cast();
            for (i, &code) in codes[..dim].iter().enumerate() {
                *values.add(4 * i + token % 4) = code;
            }
        }
    }

    /// Codes, their scale, and what the keys' bias adds to a product.
    #[inline(always)]
    fn query_bytes(dim: usize) -> usize {
        dim + 16
    }

    #[inline(always)]
    unsafe fn pack_query<S: Simd>(layout: &KvLayout, query: &[f32], to: *mut u8) {
        let mut codes = [0; MAX_DIM];
        let dim = layout.dim();
        let scale = quantize_rotated::<S>(query, &mut codes);
        let sum: i32 = codes[..dim].iter().map(|&code| i32::from(code)).sum();
        // SAFETY: the caller's promise.
        unsafe {
            std::ptr::copy_nonoverlapping(codes.as_ptr().cast(), to, dim);
            to.add(dim).cast::<f32>().write_unaligned(scale);
            to.add(dim + 4).cast::<i32>().write_unaligned(-BIAS * sum);
        }
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
        let query = |row: usize| queries.wrapping_add(row * Self::query_bytes(dim));
        let mut sums = [[S::splat_i(0); 2]; R];
        // SAFETY: R packed queries, keys of a page, R rows of scores.
        unsafe {
            for (row, sums) in sums.iter_mut().enumerate() {
                let bias = query(row).add(dim + 4).cast::<i32>().read_unaligned();
                *sums = [S::splat_i(bias); 2];
            }
            for four in 0..dim / 4 {
                let at = keys.add(four * 2 * VECTOR);
                prefetch::<S, 2>(ahead.wrapping_add(four * 2 * VECTOR));
                let keys = [S::load_i(at), S::load_i(at.add(VECTOR))];
                for (row, sums) in sums.iter_mut().enumerate() {
                    let query = query(row).add(4 * four).cast::<i32>();
                    let query = S::splat_i(query.read_unaligned());
                    sums[0] = S::dot_u8i8(sums[0], keys[0], query);
                    sums[1] = S::dot_u8i8(sums[1], keys[1], query);
                }
            }
            let scales = scales(keys, dim);
            let scales = [S::load(scales), S::load(scales.add(LANES))];
            for (row, sums) in sums.into_iter().enumerate() {
                let scale = S::splat(query(row).add(dim).cast::<f32>().read_unaligned());
                let to = to.add(row * SCORE_STRIDE);
                S::store(to, S::mul(S::mul(S::to_f(sums[0]), scales[0]), scale));
                S::store(
                    to.add(LANES),
                    S::mul(S::mul(S::to_f(sums[1]), scales[1]), scale),
                );
            }
        }
    }

    #[inline(always)]
    unsafe fn weight_factor<S: Simd>(block: &Block, valid: Valid, weights: *mut u8) -> S::F {
        let zero = S::splat(0.0);
        let mut largest = zero;
        for vector in valid.vectors() {
            // SAFETY: scales of a page with a valid key.
            let scales = unsafe { S::load(value_scales(block, vector)) };
            largest = S::max(largest, S::select(valid.mask(vector), scales, zero));
        }
        let largest = S::largest(largest);
        // SAFETY: a row has room for the factor after its weights.
        unsafe { weights.add(FACTOR).cast::<f32>().write(largest / WHOLE) };
        S::splat(if largest > 0.0 { WHOLE / largest } else { 0.0 })
    }

    #[inline(always)]
    unsafe fn put_weights<S: Simd>(
        block: &Block,
        (row, vector): (*mut u8, usize),
        weights: S::F,
        factor: S::F,
        mask: u16,
    ) {
        // SAFETY: scales of a page with a valid key; a row has room for a block's weights.
        unsafe {
            let scales = S::load(value_scales(block, vector));
            let scaled = S::mul(S::mul(weights, scales), factor);
            let scaled = S::min(scaled, S::splat(WHOLE));
            let codes = S::to_i(S::select(mask, scaled, S::splat(0.0)));
            let at = row.add(vector * LANES);
            S::store_low_bytes(at, S::shift_right_8(codes));
            S::store_low_bytes(at.add(LOW_PLANE), codes);
        }
    }

    #[inline(always)]
    unsafe fn values<S: Simd, const R: usize, const V: usize>(
        block: &Block,
        weights: *const u8,
        vector: usize,
        ahead: &Addresses,
        to: &[*mut f32],
    ) {
        let mut high = [[S::splat_i(0); V]; R];
        let mut low = [[S::splat_i(0); V]; R];
        let weights = |row: usize| weights.wrapping_add(row * WEIGHT_STRIDE);
        // SAFETY: V vectors of every four of a valid page's values, R rows of weights and results.
        unsafe {
            for (page, fours) in block.groups(4) {
                let values = block.values(page).add(vector * VECTOR);
                let ahead = ahead[page].wrapping_add(vector * VECTOR);
                for four in fours {
                    let at = values.add(four * block.dim * 4);
                    prefetch::<S, V>(ahead.wrapping_add(four * block.dim * 4));
                    let values: [_; V] = std::array::from_fn(|i| S::load_i(at.add(i * VECTOR)));
                    for row in 0..R {
                        let weight = weights(row).add(page * PAGE_TOKENS + 4 * four);
                        let plane = |at: *const u8| S::splat_i(at.cast::<i32>().read_unaligned());
                        let planes = [plane(weight), plane(weight.add(LOW_PLANE))];
                        for i in 0..V {
                            high[row][i] = S::dot_u8i8(high[row][i], planes[0], values[i]);
                            low[row][i] = S::dot_u8i8(low[row][i], planes[1], values[i]);
                        }
                    }
                }
            }
            for (row, &to) in to[..R].iter().enumerate() {
                let factor = S::splat(weights(row).add(FACTOR).cast::<f32>().read());
                for i in 0..V {
                    let sum = join::<S>([high[row][i], low[row][i]], factor);
                    S::store(to.add((vector + i) * LANES), sum);
                }
            }
        }
    }

    const TILE_ROWS: usize = 7;

    const TILE_VECTORS: usize = 2;

    /// Registers 0 and 1 for sums, 4 for queries, 5 and 6 for keys, 2, 3 and 7 for the same of the
    /// values that are left at the end of a head.
    fn score_shapes(dim: usize, rows: usize) -> Shapes {
        let rest = dim % 64;
        let [sums, left, left_tail] = [(rows, 64), (rows, 64), (rows, rest)];
        let [right, right_tail] = [(16, 64), (rest / 4, 64)];
        Shapes::new([
            sums, sums, left_tail, right_tail, left, right, right, right_tail,
        ])
    }

    /// Registers 0 to 3 for sums: both planes of a vector, then of the other; 4 and 5 for the planes
    /// of weights, 6 and 7 for values.
    fn value_shapes(rows: usize) -> Shapes {
        let [sums, weights, values] = [(rows, 64), (rows, PAGE_TOKENS), (PAGE_TOKENS / 4, 64)];
        Shapes::new([sums, sums, sums, sums, weights, weights, values, values])
    }

    #[inline(always)]
    unsafe fn tile_scores<S: Simd>(
        rows: usize,
        block: &Block,
        page: usize,
        ahead: &Addresses,
        (queries, to): (*const u8, *mut f32),
    ) {
        let (dim, keys, ahead) = (block.dim, block.keys(page), ahead[page]);
        let (stride, step_bytes) = (Self::query_bytes(dim), 16 * KEYS_STRIDE);
        let (done, rest) = (dim / 64, dim % 64);
        // SAFETY: rows of queries, keys of a page, as many rows of scores, which sums become.
        unsafe {
            tiles::zero::<0>();
            tiles::zero::<1>();
            for step in 0..done {
                let keys = keys.add(step * step_bytes);
                tiles::load::<4>(queries.add(step * 64), stride);
                tiles::load::<5>(keys, KEYS_STRIDE);
                tiles::dot_i8u8::<0, 4, 5>();
                tiles::load::<6>(keys.add(VECTOR), KEYS_STRIDE);
                tiles::dot_i8u8::<1, 4, 6>();
            }
            if rest > 0 {
                let keys = keys.add(done * step_bytes);
                tiles::load::<2>(queries.add(done * 64), stride);
                tiles::load::<3>(keys, KEYS_STRIDE);
                tiles::dot_i8u8::<0, 2, 3>();
                tiles::load::<7>(keys.add(VECTOR), KEYS_STRIDE);
                tiles::dot_i8u8::<1, 2, 7>();
            }
            for four in 0..dim / 4 {
                prefetch::<S, 2>(ahead.wrapping_add(four * KEYS_STRIDE));
            }
            tiles::store::<0>(to.cast(), 4 * SCORE_STRIDE);
            tiles::store::<1>(to.add(LANES).cast(), 4 * SCORE_STRIDE);
            let scales = scales(keys, dim);
            let scales = [S::load(scales), S::load(scales.add(LANES))];
            for row in 0..rows {
                let end = queries.add(row * stride + dim);
                let scale = S::splat(end.cast::<f32>().read_unaligned());
                let bias = S::splat_i(end.add(4).cast::<i32>().read_unaligned());
                for (half, key_scale) in scales.into_iter().enumerate() {
                    let at = to.add(row * SCORE_STRIDE + half * LANES);
                    let sum = S::add_i(S::load_i(at.cast_const().cast()), bias);
                    S::store(at, S::mul(S::mul(S::to_f(sum), key_scale), scale));
                }
            }
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
        let (start, stride) = (vectors.start * VECTOR, block.dim * 4);
        let is_pair = vectors.len() > 1;
        let mut sums = Sums([[0; 4 * LANES]; ROWS]);
        // SAFETY: the registers' rows of weights, values of a valid page, rows of results.
        unsafe {
            tiles::zero::<0>();
            tiles::zero::<1>();
            tiles::zero::<2>();
            tiles::zero::<3>();
            for page in block.valid.pages() {
                let (weights, values) = (
                    weights.add(page * PAGE_TOKENS),
                    block.values(page).add(start),
                );
                tiles::load::<4>(weights, WEIGHT_STRIDE);
                tiles::load::<5>(weights.add(LOW_PLANE), WEIGHT_STRIDE);
                tiles::load::<6>(values, stride);
                tiles::dot_u8i8::<0, 4, 6>();
                tiles::dot_u8i8::<1, 5, 6>();
                if is_pair {
                    tiles::load::<7>(values.add(VECTOR), stride);
                    tiles::dot_u8i8::<2, 4, 7>();
                    tiles::dot_u8i8::<3, 5, 7>();
                }
                for four in 0..PAGE_TOKENS / 4 {
                    prefetch::<S, 2>(ahead[page].wrapping_add(start + four * stride));
                }
            }
            let results: *mut u8 = sums.0.as_mut_ptr().cast();
            tiles::store::<0>(results, 4 * ROW_BYTES);
            tiles::store::<1>(results.add(ROW_BYTES), 4 * ROW_BYTES);
            tiles::store::<2>(results.add(2 * ROW_BYTES), 4 * ROW_BYTES);
            tiles::store::<3>(results.add(3 * ROW_BYTES), 4 * ROW_BYTES);
            for (row, &to) in to.iter().enumerate() {
                let factor = weights.add(row * WEIGHT_STRIDE + FACTOR);
                let factor = S::splat(factor.cast::<f32>().read());
                for (i, vector) in vectors.clone().enumerate() {
                    let planes = sums.0[row].as_ptr().add(2 * i * LANES);
                    S::store(to.add(vector * LANES), joined::<S>(planes, factor));
                }
            }
        }
    }
}

/// What the sums of both planes, high and low, of 16 values stand for.
///
/// # Safety
/// `planes` shows 32 sums.
#[inline(always)]
unsafe fn joined<S: Simd>(planes: *const i32, factor: S::F) -> S::F {
    // SAFETY: the caller's promise.
    let sums = unsafe {
        [
            S::load_i(planes.cast()),
            S::load_i(planes.add(LANES).cast()),
        ]
    };
    join::<S>(sums, factor)
}

/// What sums of the high and low plane stand for.
#[inline(always)]
fn join<S: Simd>([high, low]: [S::I; 2], factor: S::F) -> S::F {
    // Both are below 2^24, so floats hold them exactly.
    let sum = S::fma(S::to_f(high), S::splat(256.0), S::to_f(low));
    S::mul(sum, factor)
}

/// Scales of the values of the block's vector `vector` of keys.
#[inline(always)]
fn value_scales(block: &Block, vector: usize) -> *const f32 {
    const PER_PAGE: usize = PAGE_TOKENS / LANES;
    let page = scales(block.values(vector / PER_PAGE), block.dim);
    page.wrapping_add(vector % PER_PAGE * LANES)
}
