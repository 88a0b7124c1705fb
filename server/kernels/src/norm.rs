//! Root-mean-square norms (Zhang and Sennrich, arXiv:1910.07467).
#![expect(unsafe_code, reason = "reads and writes by address")]

use crate::simd::{Isa, Kernel, LANES, Simd};

/// out = x / sqrt(mean(x²) + eps) * weight. The order of additions is that of the length alone.
///
/// # Panics
/// Unless all three are of one length.
pub fn rms_norm(isa: Isa, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    assert!(x.len() == weight.len() && x.len() == out.len(), "lengths");
    // SAFETY: the addresses are those of slices of one length.
    unsafe { rms_norm_at(isa, x.as_ptr(), weight, eps, out.as_mut_ptr()) }
}

/// The same in place.
///
/// # Panics
/// Unless both are of one length.
pub fn rms_norm_in_place(isa: Isa, x: &mut [f32], weight: &[f32], eps: f32) {
    assert!(x.len() == weight.len(), "lengths");
    let to = x.as_mut_ptr();
    // SAFETY: as above; each value is read before it is written.
    unsafe { rms_norm_at(isa, to, weight, eps, to) }
}

/// # Safety
/// `x` and `out` show as many floats as `weight` has, and are the same or disjoint.
unsafe fn rms_norm_at(isa: Isa, x: *const f32, weight: &[f32], eps: f32, out: *mut f32) {
    isa.run(RmsNorm {
        x,
        weight,
        eps,
        out,
    });
}

struct RmsNorm<'a> {
    x: *const f32,
    weight: &'a [f32],
    eps: f32,
    out: *mut f32,
}

impl Kernel for RmsNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let length = self.weight.len();
        let mut squares = S::splat(0.0);
        for (start, count) in vectors(length) {
            // SAFETY: `count` floats from `start` on are within the length.
            let x = unsafe { S::load_first(self.x.add(start), count) };
            squares = S::fma(x, x, squares);
        }
        let mean = S::sum(squares) / length as f32;
        let factor = S::splat(1.0 / (mean + self.eps).sqrt());
        for (start, count) in vectors(length) {
            // SAFETY: as above.
            unsafe {
                let x = S::load_first(self.x.add(start), count);
                let weight = S::load_first(self.weight.as_ptr().add(start), count);
                let scaled = S::mul(S::mul(x, factor), weight);
                S::store_first(self.out.add(start), scaled, count);
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
                let mut out = vec![0.0; x.len()];
                rms_norm(isa, &x, &weight, 1e-5, &mut out);
                for ((&x, &weight), &y) in x.iter().zip(&weight).zip(&out) {
                    let expected = f64::from(x) * factor * f64::from(weight);
                    let error = (f64::from(y) - expected).abs();
                    prop_assert!(error <= 1e-6 * (1.0 + expected.abs()), "{isa}");
                }
                let mut in_place = x.clone();
                rms_norm_in_place(isa, &mut in_place, &weight, 1e-5);
                prop_assert_eq!(in_place, out);
            }
        }
    }
}
