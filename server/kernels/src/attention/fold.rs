//! Partials: what a row gets from one block, or from several folded into one.
//!
//! A partial is `[m: 16 equal lanes][l: 16 lanes][O: D]`. With m the largest exponent of two among
//! the scores, l sums 2^(score - m) and O the values times that.

use crate::simd::{LANES, Simd};

/// Offset of O.
pub(super) const VALUES: usize = 2 * LANES;

/// Floats of a partial.
pub(super) fn partial_len(dim: usize) -> usize {
    VALUES + dim
}

/// Folds the partial `next` into `state`, which stands left of it.
///
/// # Safety
/// Both are partials of `dim` values, and apart.
#[inline(always)]
pub(super) unsafe fn fold<S: Simd>(state: *mut f32, next: *const f32, dim: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let (old, new) = (S::load(state), S::load(next));
        let m = S::max(old, new);
        let (a, b) = (S::exp2(S::sub(old, m)), S::exp2(S::sub(new, m)));
        S::store(state, m);
        for at in (LANES..partial_len(dim)).step_by(LANES) {
            let kept = S::mul(S::load(state.add(at)), a);
            S::store(state.add(at), S::fma(S::load(next.add(at)), b, kept));
        }
    }
}

/// Writes O / l of a row that is complete.
///
/// # Safety
/// `state` is a partial of at least `out_len` values, and `out` has room for them.
#[inline(always)]
pub(super) unsafe fn finish<S: Simd>(state: *const f32, out: *mut f32, out_len: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let factor = S::splat(1.0 / S::sum(S::load(state.add(LANES))));
        for (start, count) in crate::norm::vectors(out_len) {
            let value = S::mul(S::load(state.add(VALUES + start)), factor);
            // Whether a zero is negative depends on how many keys of weight 0 followed.
            S::store_first(out.add(start), S::add(value, S::splat(0.0)), count);
        }
    }
}
