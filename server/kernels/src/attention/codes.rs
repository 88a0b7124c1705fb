//! Heads as 8-bit codes.

use super::layout::MAX_DIM;
use crate::hadamard::rotate_vectors;
use crate::norm::vectors;
use crate::simd::Simd;

/// A head as codes of -127 to 127, padded with zeros, and their scale: NaN unless all values are
/// finite.
#[inline(always)]
pub(super) fn quantize<S: Simd>(head: &[f32], codes: &mut [i8; MAX_DIM]) -> f32 {
    let mut largest = S::splat(0.0);
    let mut is_finite = u16::MAX;
    for (start, count) in vectors(head.len()) {
        // SAFETY: `count` values from `start` on are in the head.
        let size = S::abs(unsafe { S::load_first(head.as_ptr().add(start), count) });
        largest = S::max(largest, size);
        is_finite &= S::greater(S::splat(f32::INFINITY), size);
    }
    let scale = S::largest(largest) / 127.0;
    let scale = if is_finite == u16::MAX {
        scale
    } else {
        f32::NAN
    };
    let factor = S::splat(if scale > 0.0 { 1.0 / scale } else { 0.0 });
    for (start, count) in vectors(head.len()) {
        // SAFETY: as above, and a whole vector of codes is there.
        unsafe {
            let values = S::load_first(head.as_ptr().add(start), count);
            S::store_i8(
                codes.as_mut_ptr().add(start),
                S::to_i(S::mul(values, factor)),
            );
        }
    }
    scale
}

/// The same behind the rotation, which spreads a head's outliers over all its values, so that one
/// scale fits them. Rotating both keys and queries leaves their products as they are.
#[inline(always)]
pub(super) fn quantize_rotated<S: Simd>(head: &[f32], codes: &mut [i8; MAX_DIM]) -> f32 {
    let mut rotated = [0.0; MAX_DIM];
    let rotated = &mut rotated[..head.len()];
    rotated.copy_from_slice(head);
    rotate_vectors::<S>(rotated);
    quantize::<S>(rotated, codes)
}
