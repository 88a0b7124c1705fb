//! Rotation by a block Hadamard matrix, which spreads outliers over a block before quantization
//! (QuaRot, arXiv:2404.00456).
#![expect(unsafe_code, reason = "reads and writes by address")]

use crate::norm::vectors;
use crate::simd::{Isa, Kernel, LANES, Simd};

/// Multiplies each block of `values` by the symmetric orthogonal Hadamard matrix of its size, the
/// largest power of two that divides the length. Its own inverse, up to rounding.
pub fn rotate(isa: Isa, values: &mut [f32]) {
    isa.run(Rotate(values));
}

struct Rotate<'a>(&'a mut [f32]);

impl Kernel for Rotate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        rotate_vectors::<S>(self.0);
    }
}

/// [`rotate`] within a kernel: the fast Walsh-Hadamard transform, first in vectors, then across.
#[inline(always)]
pub(crate) fn rotate_vectors<S: Simd>(values: &mut [f32]) {
    if values.is_empty() {
        return;
    }
    let block = 1 << values.len().trailing_zeros();
    let factor = S::splat(1.0 / (block as f32).sqrt());
    let start = values.as_mut_ptr();
    for (at, count) in vectors(values.len()) {
        // SAFETY: `count` values from `at` on.
        unsafe {
            let x = S::mul(S::load_first(start.add(at), count), factor);
            S::store_first(start.add(at), within::<S>(x, block), count);
        }
    }
    let mut stride = LANES;
    while stride < block {
        for pair in (0..values.len()).step_by(2 * stride) {
            for at in (pair..pair + stride).step_by(LANES) {
                // SAFETY: the stride's double divides the length.
                unsafe {
                    let (low, high) = (start.add(at), start.add(at + stride));
                    let (a, b) = (S::load(low), S::load(high));
                    S::store(low, S::add(a, b));
                    S::store(high, S::sub(a, b));
                }
            }
        }
        stride *= 2;
    }
}

/// The steps with strides below 16.
#[inline(always)]
fn within<S: Simd>(mut x: S::F, block: usize) -> S::F {
    if block > 1 {
        x = S::fma(x, signs::<S, 1>(), S::exchange::<1>(x));
    }
    if block > 2 {
        x = S::fma(x, signs::<S, 2>(), S::exchange::<2>(x));
    }
    if block > 4 {
        x = S::fma(x, signs::<S, 4>(), S::exchange::<4>(x));
    }
    if block > 8 {
        x = S::fma(x, signs::<S, 8>(), S::exchange::<8>(x));
    }
    x
}

/// 1 in the lower lane of each pair at distance `D`, -1 in the upper.
#[inline(always)]
fn signs<S: Simd, const D: usize>() -> S::F {
    let signs: [f32; LANES] = std::array::from_fn(|lane| if lane & D == 0 { 1.0 } else { -1.0 });
    // SAFETY: the array has 16 lanes.
    unsafe { S::load(signs.as_ptr()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn equals_the_definition_and_its_own_inverse(
            blocks in 1usize..4,
            log_block in 0u32..9,
            seed in any::<u32>(),
        ) {
            let length = (2 * blocks - 1) << log_block;
            let block = 1usize << log_block;
            let hash = |i: usize| (i as u32 ^ seed).wrapping_mul(2_654_435_761) >> 8;
            let values: Vec<f32> = (0..length).map(|i| hash(i) as f32 / 8e6 - 1.0).collect();
            for isa in Isa::supported() {
                let mut rotated = values.clone();
                rotate(isa, &mut rotated);
                for (i, &y) in rotated.iter().enumerate() {
                    let first = i / block * block;
                    let expected: f64 = (0..block).map(|j| {
                        let negative = ((i % block) & j).count_ones() % 2 == 1;
                        let x = f64::from(values[first + j]);
                        if negative { -x } else { x }
                    }).sum::<f64>() / (block as f64).sqrt();
                    prop_assert!((f64::from(y) - expected).abs() < 1e-5, "{isa} {i}: {y}");
                }
                rotate(isa, &mut rotated);
                for (x, y) in values.iter().zip(&rotated) {
                    prop_assert!((x - y).abs() < 1e-5, "{isa}");
                }
            }
        }
    }
}
