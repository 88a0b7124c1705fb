//! What becomes of the sums of a product.
#![expect(unsafe_code, reason = "threads write their columns of one buffer")]

use std::marker::PhantomData;

use super::layout::PANEL;
use crate::simd::{LANES, Simd};

/// Where a product writes, [M, N] with a row stride, and how.
///
/// A shared view of one buffer: threads that multiply different panels write different columns.
#[derive(Debug, Clone, Copy)]
pub struct Output<'a> {
    start: *mut f32,
    len: usize,
    stride: usize,
    join: Join,
    buffer: PhantomData<&'a mut [f32]>,
}

// SAFETY: the view writes only in `multiply`, whose contract keeps the places of threads apart.
unsafe impl Send for Output<'_> {}
// SAFETY: as above.
unsafe impl Sync for Output<'_> {}

/// How the results join what the output holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Join {
    /// out = y
    Store,
    /// out = out + factor * y: a residual stream.
    Add {
        /// 1 for most models, the residual multiplier for Granite.
        factor: f32,
    },
    /// out = activation(gate) * up, [M, N / 2], for a matrix that is arranged as such.
    Gated(Activation),
}

/// The activation of a gated feed-forward layer (Shazeer, arXiv:2002.05202).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activation {
    /// x * sigmoid(x)
    Silu,
    /// x * Φ(x), the exact Gaussian error linear unit.
    Gelu,
    /// Its approximation by a hyperbolic tangent (Hendrycks and Gimpel, arXiv:1606.08415).
    GeluTanh,
}

/// Where the results of one panel and a block of rows belong.
#[derive(Debug, Clone, Copy)]
pub(super) struct Region<'a> {
    /// First row and number of rows.
    pub(super) first: usize,
    pub(super) rows: usize,
    pub(super) panel: usize,
    /// Columns of the whole output.
    pub(super) cols: usize,
    /// The panel's, for its 32 outputs.
    pub(super) bias: Option<&'a [f32]>,
}

impl<'a> Output<'a> {
    /// Rows of `stride` floats in `buffer`, the last of which may be cut after its last column.
    #[must_use]
    pub fn new(buffer: &'a mut [f32], stride: usize, join: Join) -> Self {
        Self {
            start: buffer.as_mut_ptr(),
            len: buffer.len(),
            stride,
            join,
            buffer: PhantomData,
        }
    }

    /// The same for a buffer that is shared by address.
    ///
    /// # Safety
    /// `start` shows `len` floats that live as long as the view, and that nobody else touches while
    /// a product writes them.
    #[must_use]
    pub unsafe fn from_raw(start: *mut f32, len: usize, stride: usize, join: Join) -> Self {
        Self {
            start,
            len,
            stride,
            join,
            buffer: PhantomData,
        }
    }

    pub(super) fn join(&self) -> Join {
        self.join
    }

    /// Whether `rows` rows of `cols` columns are within the buffer.
    pub(super) fn holds(&self, rows: usize, cols: usize) -> bool {
        let last = (rows.max(1) - 1).checked_mul(self.stride);
        let end = last.and_then(|last| last.checked_add(cols));
        cols <= self.stride && end.is_some_and(|end| end <= self.len)
    }

    /// Takes the results `sums` [rows, 32] of one panel and a block of rows.
    ///
    /// # Safety
    /// The addresses hold; the buffer has the rows and columns.
    #[inline(always)]
    pub(super) unsafe fn write<S: Simd>(&self, sums: *const f32, region: Region<'_>) {
        let (width, parts) = match self.join {
            Join::Gated(_) => (PANEL / 2, 1),
            _ => (PANEL, 2),
        };
        for part in 0..parts {
            let col = region.panel * width + part * LANES;
            let count = region.cols.saturating_sub(col).min(LANES);
            if count == 0 {
                return;
            }
            for row in 0..region.rows {
                // SAFETY: the caller's promise.
                unsafe {
                    let from = sums.add(row * PANEL + part * LANES);
                    let to = self.start.add((region.first + row) * self.stride + col);
                    let bias = region.bias.map(|bias| bias.as_ptr().add(part * LANES));
                    self.write_vector::<S>(from, bias, to, count);
                }
            }
        }
    }

    /// # Safety
    /// As for `write`.
    #[inline(always)]
    unsafe fn write_vector<S: Simd>(
        &self,
        from: *const f32,
        bias: Option<*const f32>,
        to: *mut f32,
        count: usize,
    ) {
        // SAFETY: the caller's promise; `offset` stays within the panel's 32 columns.
        let result = |offset| unsafe {
            let sum = S::load(from.add(offset));
            match bias {
                Some(bias) => S::add(sum, S::load(bias.add(offset))),
                None => sum,
            }
        };
        // SAFETY: the caller's promise.
        unsafe {
            let joined = match self.join {
                Join::Store => result(0),
                Join::Add { factor } => {
                    S::fma(result(0), S::splat(factor), S::load_first(to, count))
                }
                Join::Gated(activation) => S::mul(activation.apply::<S>(result(0)), result(LANES)),
            };
            if count == LANES {
                S::store(to, joined);
            } else {
                S::store_first(to, joined, count);
            }
        }
    }
}

impl Activation {
    #[inline(always)]
    fn apply<S: Simd>(self, x: S::F) -> S::F {
        match self {
            Self::Silu => S::mul(x, sigmoid::<S>(x)),
            Self::Gelu => gelu::<S>(x),
            Self::GeluTanh => {
                // (1 + tanh(u)) / 2 = sigmoid(2 u)
                let cube = S::mul(S::mul(x, x), x);
                let inner = S::fma(cube, S::splat(0.044_715), x);
                let twice = S::splat(2.0 * (2.0 / std::f32::consts::PI).sqrt());
                S::mul(x, sigmoid::<S>(S::mul(inner, twice)))
            }
        }
    }
}

/// 1 / (1 + e^-x)
#[inline(always)]
fn sigmoid<S: Simd>(x: S::F) -> S::F {
    let one = S::splat(1.0);
    let power = S::exp2(S::mul(x, S::splat(-std::f32::consts::LOG2_E)));
    S::div(one, S::add(one, power))
}

/// x * Φ(x) with Φ(x) = (1 + erf(x / √2)) / 2; erf by formula 7.1.26 of Abramowitz and Stegun, whose
/// error is below 1.5e-7.
#[inline(always)]
fn gelu<S: Simd>(x: S::F) -> S::F {
    const TERMS: [f32; 5] = [
        1.061_405_4,
        -1.453_152,
        1.421_413_7,
        -0.284_496_74,
        0.254_829_6,
    ];
    let one = S::splat(1.0);
    let z = S::mul(S::abs(x), S::splat(std::f32::consts::FRAC_1_SQRT_2));
    let t = S::div(one, S::fma(z, S::splat(0.327_591_1), one));
    let mut tail = S::splat(TERMS[0]);
    for &term in &TERMS[1..] {
        tail = S::fma(tail, t, S::splat(term));
    }
    let power = S::exp2(S::mul(S::mul(z, z), S::splat(-std::f32::consts::LOG2_E)));
    // erfc(|x| / √2) / 2 is the smaller of Φ(x) and Φ(-x).
    let small = S::mul(S::mul(S::mul(tail, t), power), S::splat(0.5));
    let negative = S::greater(S::splat(0.0), x);
    S::mul(x, S::select(negative, small, S::sub(one, small)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Isa, Kernel};

    struct Apply(Activation, f32);

    impl Kernel for Apply {
        type Output = f32;

        #[inline(always)]
        fn run<S: Simd>(self) -> f32 {
            let mut lanes = [0.0; LANES];
            // SAFETY: the array has 16 lanes.
            unsafe { S::store(lanes.as_mut_ptr(), self.0.apply::<S>(S::splat(self.1))) };
            lanes[0]
        }
    }

    /// Φ by Simpson's rule over the density.
    fn normal_cdf(x: f64) -> f64 {
        let density = |t: f64| (-t * t / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let step = x / 2000.0;
        let sum: f64 = (0..1000)
            .map(|i| {
                let t = 2.0 * f64::from(i) * step;
                density(t) + 4.0 * density(t + step) + density(t + 2.0 * step)
            })
            .sum();
        0.5 + sum * step / 3.0
    }

    #[test]
    fn activations_equal_their_definitions() {
        let tanh = |x: f64| {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
            0.5 * x * (1.0 + inner.tanh())
        };
        for isa in Isa::supported() {
            for step in -80..=80 {
                let x = step as f32 / 8.0;
                let wide = f64::from(x);
                for (activation, expected) in [
                    (Activation::Silu, wide / (1.0 + (-wide).exp())),
                    (Activation::Gelu, wide * normal_cdf(wide)),
                    (Activation::GeluTanh, tanh(wide)),
                ] {
                    let y = f64::from(isa.run(Apply(activation, x)));
                    let bound = 2e-6 * wide.abs().max(1.0);
                    assert!(
                        (y - expected).abs() <= bound,
                        "{isa} {activation:?} {x}: {y}"
                    );
                }
            }
            assert!(isa.run(Apply(Activation::Silu, -1e4)).abs() < 1e-30);
        }
    }
}
