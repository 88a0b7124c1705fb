//! Rounding of floats to 8-bit codes.
#![expect(unsafe_code, reason = "reads by address")]

use super::layout::CHUNK;
use crate::norm::vectors;
use crate::simd::{LANES, Simd};

/// Largest code; -128 is not used.
pub(super) const LARGEST: f32 = 127.0;

/// Both vectors of a chunk of a row, zeros after the last value.
#[inline(always)]
pub(super) fn chunk<S: Simd>(values: &[f32], index: usize) -> [S::F; 2] {
    std::array::from_fn(|half| {
        let start = index * CHUNK + half * LANES;
        let from = values.as_ptr().wrapping_add(start);
        let count = values.len().saturating_sub(start).min(LANES);
        // SAFETY: `count` values from `start` on.
        unsafe {
            if count == LANES {
                S::load(from)
            } else {
                S::load_first(from, count)
            }
        }
    })
}

/// Largest magnitude of a row; NaN when a value is not finite.
#[inline(always)]
pub(super) fn magnitude<S: Simd>(values: &[f32]) -> f32 {
    let (mut largest, mut poison) = (S::splat(0.0), S::splat(0.0));
    for (start, count) in vectors(values.len()) {
        // SAFETY: `count` values from `start` on.
        let x = unsafe { S::load_first(values.as_ptr().add(start), count) };
        largest = S::max(largest, S::abs(x));
        poison = S::fma(x, S::splat(0.0), poison);
    }
    S::largest(largest) + S::sum(poison)
}

/// The same for a chunk.
#[inline(always)]
pub(super) fn chunk_magnitude<S: Simd>([low, high]: [S::F; 2]) -> f32 {
    let zero = S::splat(0.0);
    let poison = S::fma(low, zero, S::mul(high, zero));
    S::largest(S::max(S::abs(low), S::abs(high))) + S::sum(poison)
}

/// `steps` / `magnitude`; 0 where there is nothing but zeros, or something that is not finite.
#[inline(always)]
pub(super) fn inverse(magnitude: f32, steps: f32) -> f32 {
    // The reciprocal of a tiny magnitude would be infinite.
    if magnitude > f32::MIN_POSITIVE {
        steps / magnitude
    } else {
        0.0
    }
}

/// x * inverse, rounded to nearest.
#[inline(always)]
pub(super) fn codes<S: Simd>(x: S::F, inverse: S::F) -> S::I {
    S::to_i(S::mul(x, inverse))
}
