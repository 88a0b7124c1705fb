//! Weights of a row over a block.

use std::ops::Range;

use super::block::Block;
use super::cells::Cells;
use super::{BLOCK, PAGE_TOKENS};
use crate::simd::{LANES, Simd};

/// Keys of a block that may be seen: `start..end`, counted from its first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Valid {
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Valid {
    /// The part of `keys` (absolute positions) in the block `index`.
    #[inline(always)]
    pub(super) fn in_block(index: usize, keys: &Range<usize>) -> Self {
        let clip = |key: usize| key.clamp(index * BLOCK, (index + 1) * BLOCK) - index * BLOCK;
        Self {
            start: clip(keys.start),
            end: clip(keys.end),
        }
    }

    #[inline(always)]
    pub(super) fn is_empty(self) -> bool {
        self.start >= self.end
    }

    #[inline(always)]
    fn is_whole(self) -> bool {
        self.start == 0 && self.end == BLOCK
    }

    /// Pages that hold some.
    #[inline(always)]
    pub(super) fn pages(self) -> Range<usize> {
        self.start / PAGE_TOKENS..self.end.div_ceil(PAGE_TOKENS)
    }

    /// Vectors of 16 keys that hold some.
    #[inline(always)]
    pub(super) fn vectors(self) -> Range<usize> {
        self.start / LANES..self.end.div_ceil(LANES)
    }

    /// Which lanes of a vector are in.
    #[inline(always)]
    pub(super) fn mask(self, vector: usize) -> u16 {
        let below = |key: usize| (1u32 << key.saturating_sub(vector * LANES).min(LANES)) - 1;
        (below(self.end) & !below(self.start)) as u16
    }
}

/// From products of query and key to exponents of two.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scaling {
    /// What a score is multiplied with first.
    pub(super) scale: f32,
    /// The scaled score s becomes cap * tanh(s / cap).
    pub(super) softcap: Option<f32>,
}

/// Turns a row's scores into weights 2^(score - m), stores them for the product with the values,
/// and writes m and the 16 lanes of their sum to `partial`.
///
/// # Safety
/// The addresses are those of one row: scores of the block, room for weights, a partial.
#[inline(always)]
pub(super) unsafe fn softmax<S: Simd, C: Cells>(
    block: &Block,
    valid: Valid,
    scaling: Scaling,
    (scores, weights): (*mut f32, *mut u8),
    partial: *mut f32,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let factor = cap::<S>(block, scaling, scores);
        if valid.is_whole() {
            weigh::<S, C, false>(block, valid, factor, (scores, weights), partial);
        } else {
            weigh::<S, C, true>(block, valid, factor, (scores, weights), partial);
        }
    }
}

/// Caps scores where asked; gives what turns them into exponents of two.
#[inline(always)]
unsafe fn cap<S: Simd>(block: &Block, scaling: Scaling, scores: *mut f32) -> f32 {
    use std::f32::consts::LOG2_E;
    let Some(cap) = scaling.softcap else {
        return scaling.scale * LOG2_E;
    };
    let inward = S::splat(scaling.scale / cap * 2.0 * LOG2_E);
    let (one, two) = (S::splat(1.0), S::splat(2.0));
    for vector in block.valid.vectors() {
        // SAFETY: a vector of the row's scores.
        unsafe {
            let at = scores.add(vector * LANES);
            // tanh(x) = 1 - 2 / (e^2x + 1)
            let power = S::exp2(S::mul(S::load(at), inward));
            let tanh = S::sub(one, S::div(two, S::add(power, one)));
            S::store(at, S::mul(S::splat(cap), tanh));
        }
    }
    LOG2_E
}

#[inline(always)]
unsafe fn weigh<S: Simd, C: Cells, const MASKED: bool>(
    block: &Block,
    valid: Valid,
    factor: f32,
    (scores, weights): (*mut f32, *mut u8),
    partial: *mut f32,
) {
    let mask = |vector: usize| if MASKED { valid.mask(vector) } else { u16::MAX };
    // SAFETY: the caller's promise, for each vector of the block's valid keys.
    unsafe {
        let mut largest = S::splat(f32::NEG_INFINITY);
        for vector in block.valid.vectors() {
            let mut score = S::load(scores.add(vector * LANES));
            if MASKED {
                score = S::select(mask(vector), score, S::splat(f32::NEG_INFINITY));
            }
            largest = S::max(largest, score);
        }
        let m = S::largest(largest) * factor;
        let (factor, minus_m) = (S::splat(factor), S::splat(-m));
        let weight_factor = C::weight_factor::<S>(block, valid, weights);
        let mut sum = S::splat(0.0);
        for vector in block.weighed::<S>() {
            let score = S::load(scores.add(vector * LANES));
            let mut weight = exp2_of_negative::<S>(S::fma(score, factor, minus_m));
            if MASKED {
                weight = S::select(mask(vector), weight, S::splat(0.0));
            }
            sum = S::add(sum, weight);
            C::put_weights::<S>(
                block,
                (weights, vector),
                weight,
                weight_factor,
                mask(vector),
            );
        }
        S::store(partial, S::splat(m));
        S::store(partial.add(LANES), sum);
    }
}

/// A row that sees no key of the block weighs nothing.
///
/// # Safety
/// `weights` is a row's.
#[inline(always)]
pub(super) unsafe fn no_weights<S: Simd, C: Cells>(block: &Block, weights: *mut u8) {
    let zero = S::splat(0.0);
    for vector in block.weighed::<S>() {
        // SAFETY: the caller's promise.
        unsafe { C::put_weights::<S>(block, (weights, vector), zero, zero, 0) };
    }
}

/// 2^x for x up to rounding at most 0, 2^-126 below -126, exactly 1 at 0, NaN for NaN; the relative
/// error is below 3e-6, a hundredth of what weights lose as bfloat16.
#[inline(always)]
fn exp2_of_negative<S: Simd>(x: S::F) -> S::F {
    // `max` returns its second argument where that is NaN.
    let x = S::max(S::splat(-126.0), x);
    let whole = S::round(x);
    let rest = S::sub(x, whole);
    let mut value = S::splat(EXP2_TERMS[0]);
    for &term in &EXP2_TERMS[1..] {
        value = S::fma(value, rest, S::splat(term));
    }
    S::scale_normal(value, whole)
}

/// Coefficients of 2^x on [-0.5, 0.5], highest first: the polynomial of least relative error among
/// those with 1 at 0.
const EXP2_TERMS: [f32; 5] = [9.582_853e-3, 5.590_642_6e-2, 2.402_41e-1, 6.931_242e-1, 1.0];
