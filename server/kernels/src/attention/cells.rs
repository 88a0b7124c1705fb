//! What differs between the ways of keeping keys and values.

use std::ops::Range;

use super::block::{Addresses, Block};
use super::layout::KvLayout;
use super::softmax::Valid;
use crate::simd::Simd;
use crate::simd::tiles::Shapes;

/// Bytes from one row's weights to the next one's: 256 weights of two bytes, a factor, and what
/// keeps the rows from falling on the same cache sets.
pub(super) const WEIGHT_STRIDE: usize = 576;

/// Floats from one row's scores to the next one's; a power of two would alias.
pub(super) const SCORE_STRIDE: usize = super::BLOCK + 16;

/// A way of keeping keys and values, and the products with them. The functions have the contract of
/// reads and writes at the addresses they take.
pub(super) trait Cells {
    /// Writes token `token` of a page.
    unsafe fn write<S: Simd>(layout: &KvLayout, page: *mut u8, token: usize, kv: [&[f32]; 2]);

    /// Accumulators of each value.
    const ACCUMULATORS: usize;

    /// Bytes of a packed query of `dim` values.
    fn query_bytes(dim: usize) -> usize;

    /// Packs a query.
    unsafe fn pack_query<S: Simd>(layout: &KvLayout, query: &[f32], to: *mut u8);

    /// Scores of R packed queries with the 32 keys of a page, in rows of [`SCORE_STRIDE`]. Meanwhile
    /// asks for as many bytes of `ahead`.
    unsafe fn scores<S: Simd, const R: usize>(
        block: &Block,
        page: usize,
        queries: *const u8,
        ahead: &Addresses,
        to: *mut f32,
    );

    /// What a row's weights are multiplied with before they are stored.
    unsafe fn weight_factor<S: Simd>(block: &Block, valid: Valid, weights: *mut u8) -> S::F;

    /// Stores 16 weights of a row: those of the block's vector `vector`, 0 where `mask` says so.
    unsafe fn put_weights<S: Simd>(
        block: &Block,
        at: (*mut u8, usize),
        weights: S::F,
        factor: S::F,
        mask: u16,
    );

    /// Sums of R rows' weights times V vectors of values from `vector` on, over the block's valid
    /// keys; `to` are the rows' addresses of value 0. Meanwhile asks for as many bytes of `ahead`.
    unsafe fn values<S: Simd, const R: usize, const V: usize>(
        block: &Block,
        weights: *const u8,
        vector: usize,
        ahead: &Addresses,
        to: &[*mut f32],
    );

    /// Fewest rows that matrix tiles take.
    const TILE_ROWS: usize;

    /// Vectors of values that matrix tiles sum at once.
    const TILE_VECTORS: usize;

    /// The tile registers for scores of `rows` rows.
    fn score_shapes(dim: usize, rows: usize) -> Shapes;

    /// The tile registers for values of `rows` rows.
    fn value_shapes(rows: usize) -> Shapes;

    /// [`scores`](Self::scores) of `rows` rows by matrix tiles; `addresses` are those of the queries and
    /// of the scores.
    unsafe fn tile_scores<S: Simd>(
        rows: usize,
        block: &Block,
        page: usize,
        ahead: &Addresses,
        addresses: (*const u8, *mut f32),
    );

    /// [`values`](Self::values) by matrix tiles, of the `vectors`. They read all weights of a page
    /// with a valid key.
    unsafe fn tile_values<S: Simd>(
        block: &Block,
        weights: *const u8,
        vectors: Range<usize>,
        ahead: &Addresses,
        to: &[*mut f32],
    );
}

/// Asks for N cache lines.
#[inline(always)]
pub(super) fn prefetch<S: Simd, const N: usize>(at: *const u8) {
    for line in 0..N {
        S::prefetch(at.wrapping_add(line * 64));
    }
}
