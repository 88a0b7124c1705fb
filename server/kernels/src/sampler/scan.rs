//! One pass over a row of logits: where its large ones are, and how its probability is spread.
//!
//! A row is cut into blocks. Each block's powers are summed relative to the block's own largest
//! logit while it is in the nearest cache, then all sums are brought to the row's largest one (the
//! online softmax of Milakov and Gimelshein, arXiv:1805.02867). Additions are made in an order that
//! only the row's length decides. NaN counts as a logit of minus infinity.
#![expect(unsafe_code, reason = "vector reads and writes by address")]

use super::gather::{Gather, load, load_rest, rank};
use crate::simd::{Isa, Kernel, LANES, Simd};

#[cfg(test)]
mod tests;

/// Logits of a block.
pub(super) const BLOCK: usize = 512;

/// The probabilities are those of `2^(scale * logit)`, up to a common factor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scale(f32);

impl Scale {
    /// Of the model's own distribution.
    pub(super) const UNMODIFIED: Self = Self(std::f32::consts::LOG2_E);

    /// Of a temperature above 0.
    pub(super) fn of_temperature(temperature: f32) -> Self {
        // Infinity times a difference of 0 would be NaN.
        Self((std::f32::consts::LOG2_E / temperature).min(f32::MAX))
    }

    /// The logit whose weight has this binary logarithm, the largest logit's being 0.
    pub(super) fn logit(self, log_weight: f64, best: f32) -> f32 {
        (f64::from(best) + log_weight / f64::from(self.0)) as f32
    }

    /// The binary logarithm of a logit's weight, the largest one's being 0.
    pub(super) fn log_weight(self, logit: f32, best: f32) -> f64 {
        (f64::from(logit) - f64::from(best)) * f64::from(self.0)
    }
}

/// What the pass finds.
#[derive(Debug)]
pub(super) struct Scan {
    scale: Scale,
    best: f32,
    /// The largest logit of each block.
    maxima: Vec<f32>,
    /// The sum of each block's weights, that of the row's largest logit being 1.
    masses: Vec<f32>,
    total: f64,
}

impl Scan {
    /// Looks at a row.
    pub(super) fn new(isa: Isa, logits: &[f32], scale: Scale) -> Self {
        isa.run(Pass { logits, scale })
    }

    /// The scale of the weights.
    pub(super) fn scale(&self) -> Scale {
        self.scale
    }

    /// The largest logit; minus infinity when there is none.
    pub(super) fn best(&self) -> f32 {
        self.best
    }

    /// The sum of all weights, that of the largest logit being 1.
    pub(super) fn total(&self) -> f64 {
        self.total
    }

    /// Natural log of the sum of exponentials, for the unmodified scale.
    pub(super) fn log_sum_exp(&self) -> f64 {
        if self.best.is_infinite() {
            return f64::from(self.best);
        }
        f64::from(self.best) + self.total.ln()
    }

    /// The id of the largest logit, the lowest among equals.
    pub(super) fn argmax(&self, logits: &[f32]) -> u32 {
        let is_best = |&logit: &f32| logit == self.best;
        let block = self.maxima.iter().position(is_best).unwrap_or(0);
        let inside = logits[block * BLOCK..].iter().position(is_best);
        (block * BLOCK + inside.unwrap_or(0)) as u32
    }

    /// The token at a point of the cumulative distribution by ids, `point` in [0, 1). The largest
    /// logit must be finite.
    pub(super) fn pick(&self, isa: Isa, logits: &[f32], point: f64) -> u32 {
        let target = point * self.total;
        let (mut before, mut block) = (0.0, 0);
        for (index, &mass) in self.masses.iter().enumerate() {
            let mass = f64::from(mass);
            if mass > 0.0 {
                block = index; // where rounding leaves the sum below the target
                if target < before + mass {
                    break;
                }
            }
            before += mass;
        }
        let start = block * BLOCK;
        let end = logits.len().min(start + BLOCK);
        let weights = self.weights(isa, &logits[start..end]);
        (start + position(&weights, target - before)) as u32
    }

    /// Weights of logits of the row, that of its largest one being 1.
    pub(super) fn weights(&self, isa: Isa, logits: &[f32]) -> Vec<f32> {
        isa.run(Weights {
            logits,
            best: self.best,
            scale: self.scale,
        })
    }

    /// The mean of the binary logarithms of all weights, weighted by themselves.
    pub(super) fn mean_log_weight(&self, isa: Isa, logits: &[f32]) -> f64 {
        let sum = isa.run(LogWeights {
            logits,
            best: self.best,
            scale: self.scale,
        });
        sum / self.total
    }

    /// The `n` largest logits above minus infinity, sorted from the largest, by id among equals.
    pub(super) fn largest(&self, isa: Isa, logits: &[f32], n: usize) -> Vec<(u32, f32)> {
        if n == 0 {
            return Vec::new();
        }
        let mut leading = isa.run(Gather {
            logits,
            maxima: &self.maxima,
            above: self.floor_of_largest(n),
            keep: n,
        });
        leading.sort_unstable_by_key(|&(id, logit)| rank(id, logit));
        leading.truncate(n);
        leading
    }

    /// The logits above minus infinity that are at least `least`, by id.
    pub(super) fn at_least(&self, isa: Isa, logits: &[f32], least: f32) -> Vec<(u32, f32)> {
        isa.run(Gather {
            logits,
            maxima: &self.maxima,
            above: least.next_down(),
            keep: usize::MAX,
        })
    }

    /// A number below the `n` largest logits, as high as the blocks tell.
    fn floor_of_largest(&self, n: usize) -> f32 {
        if n > self.maxima.len() {
            return f32::NEG_INFINITY;
        }
        let mut maxima = self.maxima.clone();
        // There is no NaN among them.
        let (_, nth, _) = maxima.select_nth_unstable_by(n - 1, |a, b| b.total_cmp(a));
        nth.next_down()
    }
}

/// The first place at which the sum of weights exceeds `target`; the last weight above 0 where
/// rounding leaves the sum below.
fn position(weights: &[f32], target: f64) -> usize {
    let (mut sum, mut last) = (0.0, 0);
    for (index, &weight) in weights.iter().enumerate() {
        if weight > 0.0 {
            last = index;
            sum += f64::from(weight);
            if target < sum {
                break;
            }
        }
    }
    last
}

/// 2^((logit - best) * scale); 0 for NaN.
#[inline(always)]
fn weight<S: Simd>(logit: S::F, best: S::F, scale: S::F) -> S::F {
    let logit = S::max(logit, S::splat(f32::NEG_INFINITY)); // NaN gives way
    S::exp2(S::mul(S::sub(logit, best), scale))
}

/// A weight times its binary logarithm; 0 for NaN.
#[inline(always)]
fn log_weight<S: Simd>(logit: S::F, best: S::F, scale: S::F) -> S::F {
    // Where the weight is 0, so is the product: the logarithm must not be infinite.
    let least = S::splat(-1000.0);
    let log = S::max(S::mul(S::sub(logit, best), scale), least);
    S::mul(log, S::exp2(log))
}

/// Makes a `Scan`.
struct Pass<'a> {
    logits: &'a [f32],
    scale: Scale,
}

impl Kernel for Pass<'_> {
    type Output = Scan;

    #[inline(always)]
    fn run<S: Simd>(self) -> Scan {
        let blocks = self.logits.len().div_ceil(BLOCK);
        let (mut maxima, mut masses) = (Vec::with_capacity(blocks), Vec::with_capacity(blocks));
        for block in self.logits.chunks(BLOCK) {
            let largest = maximum::<S>(block);
            maxima.push(largest);
            masses.push(mass::<S>(block, largest, self.scale));
        }
        let best = maximum::<S>(&maxima);
        let scale = S::splat(self.scale.0);
        for (largest, mass) in maxima.chunks(LANES).zip(masses.chunks_mut(LANES)) {
            let count = largest.len();
            // SAFETY: both chunks have `count` items, at most 16.
            unsafe {
                let largest = S::load_first(largest.as_ptr(), count);
                let factor = weight::<S>(largest, S::splat(best), scale);
                let product = S::mul(S::load_first(mass.as_ptr(), count), factor);
                S::store_first(mass.as_mut_ptr(), product, count);
            }
        }
        Scan {
            scale: self.scale,
            best,
            total: masses.iter().map(|&mass| f64::from(mass)).sum(),
            maxima,
            masses,
        }
    }
}

/// The largest logit; minus infinity when there is none.
#[inline(always)]
fn maximum<S: Simd>(logits: &[f32]) -> f32 {
    let (chunks, rest) = logits.as_chunks::<LANES>();
    let mut largest = S::splat(f32::NEG_INFINITY);
    for chunk in chunks {
        largest = S::max(load::<S>(chunk), largest);
    }
    if !rest.is_empty() {
        largest = S::max(load_rest::<S>(rest), largest);
    }
    S::largest(largest)
}

/// The sum of a block's weights, that of its largest logit being 1.
#[inline(always)]
fn mass<S: Simd>(logits: &[f32], largest: f32, scale: Scale) -> f32 {
    // Of a block that allows nothing, all are infinitely far below any number.
    let best = S::splat(if largest == f32::NEG_INFINITY {
        0.0
    } else {
        largest
    });
    let scale = S::splat(scale.0);
    let (chunks, rest) = logits.as_chunks::<LANES>();
    let mut sum = S::splat(0.0);
    for chunk in chunks {
        sum = S::add(sum, weight::<S>(load::<S>(chunk), best, scale));
    }
    if !rest.is_empty() {
        sum = S::add(sum, weight::<S>(load_rest::<S>(rest), best, scale));
    }
    S::sum(sum)
}

/// Weights of some logits.
struct Weights<'a> {
    logits: &'a [f32],
    best: f32,
    scale: Scale,
}

impl Kernel for Weights<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<S: Simd>(self) -> Vec<f32> {
        let (best, scale) = (S::splat(self.best), S::splat(self.scale.0));
        let mut weights = vec![0.0f32; self.logits.len()];
        for (logits, weights) in self.logits.chunks(LANES).zip(weights.chunks_mut(LANES)) {
            let count = logits.len();
            // SAFETY: both chunks have `count` items, at most 16.
            unsafe {
                let logits = S::load_first(logits.as_ptr(), count);
                S::store_first(
                    weights.as_mut_ptr(),
                    weight::<S>(logits, best, scale),
                    count,
                );
            }
        }
        weights
    }
}

/// The sum of all weights times their binary logarithms.
struct LogWeights<'a> {
    logits: &'a [f32],
    best: f32,
    scale: Scale,
}

impl Kernel for LogWeights<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self) -> f64 {
        let (best, scale) = (S::splat(self.best), S::splat(self.scale.0));
        let mut total = 0.0;
        for block in self.logits.chunks(BLOCK) {
            let (chunks, rest) = block.as_chunks::<LANES>();
            let mut sum = S::splat(0.0);
            for chunk in chunks {
                sum = S::add(sum, log_weight::<S>(load::<S>(chunk), best, scale));
            }
            if !rest.is_empty() {
                sum = S::add(sum, log_weight::<S>(load_rest::<S>(rest), best, scale));
            }
            total += f64::from(S::sum(sum));
        }
        total
    }
}
