//! Root-mean-square norms (Zhang and Sennrich, arXiv:1910.07467).
#![expect(unsafe_code, reason = "reads and writes by address")]

use crate::simd::{Isa, Kernel, LANES, Simd};

/// A norm: x / sqrt(mean(x²) + eps) * weight.
#[derive(Debug, Clone, Copy)]
pub struct Norm<'a> {
    /// One for each value.
    pub weight: &'a [f32],
    /// Keeps the root from 0.
    pub eps: f32,
}

/// Applies a norm in place. The order of additions is that of the length alone.
///
/// # Panics
/// Unless there is a weight for each value.
pub fn rms_norm(isa: Isa, x: &mut [f32], norm: Norm<'_>) {
    isa.run(RmsNorm { x, norm });
}

struct RmsNorm<'a> {
    x: &'a mut [f32],
    norm: Norm<'a>,
}

impl Kernel for RmsNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        assert!(self.x.len() == self.norm.weight.len(), "lengths");
        let x = self.x.as_mut_ptr();
        // SAFETY: the addresses are those of slices of one length.
        unsafe { self.norm.apply::<S>(x, x) }
    }
}

impl Norm<'_> {
    /// [`rms_norm`] within a kernel.
    ///
    /// # Safety
    /// `x` and `out` show as many floats as there are weights, and are the same or disjoint.
    #[inline(always)]
    pub(crate) unsafe fn apply<S: Simd>(self, x: *const f32, out: *mut f32) {
        let length = self.weight.len();
        let mut squares = S::splat(0.0);
        for (start, count) in vectors(length) {
            // SAFETY: `count` floats from `start` on are within the length.
            let x = unsafe { S::load_first(x.add(start), count) };
            squares = S::fma(x, x, squares);
        }
        let mean = S::sum(squares) / length as f32;
        let factor = S::splat(1.0 / (mean + self.eps).sqrt());
        for (start, count) in vectors(length) {
            // SAFETY: as above; each value is read before it is written.
            unsafe {
                let x = S::load_first(x.add(start), count);
                let weight = S::load_first(self.weight.as_ptr().add(start), count);
                let scaled = S::mul(S::mul(x, factor), weight);
                S::store_first(out.add(start), scaled, count);
            }
        }
    }
}

/// Start and number of lanes of each vector of `length` floats.
///
/// An iterator and not a function that takes a closure: vector operations in a closure are not
/// inlined and become calls.
#[inline(always)]
pub(crate) fn vectors(length: usize) -> impl Iterator<Item = (usize, usize)> {
    let starts = (0..length).step_by(LANES);
    starts.map(move |start| (start, LANES.min(length - start)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn equals_the_definition(
            pairs in prop::collection::vec((-1e3f32..1e3, -2f32..2.0), 1..300),
        ) {
            let (x, weight): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            let squares: f64 = x.iter().map(|&x| f64::from(x).powi(2)).sum();
            let factor = 1.0 / (squares / x.len() as f64 + 1e-5).sqrt();
            for isa in Isa::supported() {
                let mut out = x.clone();
                rms_norm(isa, &mut out, Norm { weight: &weight, eps: 1e-5 });
                for ((&x, &weight), &y) in x.iter().zip(&weight).zip(&out) {
                    let expected = f64::from(x) * factor * f64::from(weight);
                    let error = (f64::from(y) - expected).abs();
                    prop_assert!(error <= 1e-6 * (1.0 + expected.abs()), "{isa}");
                }
            }
        }
    }
}
