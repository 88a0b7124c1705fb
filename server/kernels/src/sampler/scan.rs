//! One pass over a row of logits: where its large ones are, and how its probability is spread.
//!
//! A row is cut into blocks. Each block's powers are summed relative to the block's own largest
//! logit while it is in the nearest cache, then all sums are brought to the row's largest one (the
//! online softmax of Milakov and Gimelshein, arXiv:1805.02867). Additions are made in an order that
//! only the row's length decides. NaN counts as a logit of minus infinity.
#![expect(unsafe_code, reason = "vector reads and writes by address")]

use crate::simd::{Isa, Kernel, LANES, Simd};

#[cfg(test)]
mod tests;

/// Logits of a block.
const BLOCK: usize = 512;

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

    /// How far below the largest logit a weight lies, the largest one's being 1.
    pub(super) fn distance(self, weight: f64) -> f32 {
        (-weight.log2() / f64::from(self.0)) as f32
    }

    /// The logarithm of a logit's weight, the largest one's being 0, to the same base everywhere.
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

/// Orders from the largest logit, by id among equals.
pub(super) fn rank(id: u32, logit: f32) -> u64 {
    // Adding 0 makes one of both zeros; then the bits of floats, those of negative ones inverted,
    // order as the floats do.
    let bits = (logit + 0.0).to_bits();
    let ascending = if bits >> 31 == 1 {
        !bits
    } else {
        bits | 1 << 31
    };
    u64::from(!ascending) << 32 | u64::from(id)
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

/// 16 logits.
#[inline(always)]
fn load<S: Simd>(logits: &[f32; LANES]) -> S::F {
    // SAFETY: the array has 16.
    unsafe { S::load(logits.as_ptr()) }
}

/// Fewer than 16 logits, minus infinity in the other lanes.
#[inline(always)]
fn load_rest<S: Simd>(logits: &[f32]) -> S::F {
    let lanes = (1u16 << logits.len()) - 1;
    // SAFETY: as many are read as there are.
    let first = unsafe { S::load_first(logits.as_ptr(), logits.len()) };
    S::select(lanes, first, S::splat(f32::NEG_INFINITY))
}

/// 2^((logit - best) * scale); 0 for NaN.
#[inline(always)]
fn weight<S: Simd>(logit: S::F, best: S::F, scale: S::F) -> S::F {
    let logit = S::max(logit, S::splat(f32::NEG_INFINITY)); // NaN gives way
    S::exp2(S::mul(S::sub(logit, best), scale))
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

/// Finds the logits above a number, and of those at least the `keep` largest.
struct Gather<'a> {
    logits: &'a [f32],
    /// The largest logit of each block.
    maxima: &'a [f32],
    above: f32,
    keep: usize,
}

impl Kernel for Gather<'_> {
    type Output = Vec<(u32, f32)>;

    #[inline(always)]
    fn run<S: Simd>(mut self) -> Vec<(u32, f32)> {
        let mut found = Vec::new();
        for (index, block) in self.logits.chunks(BLOCK).enumerate() {
            if self.maxima[index] > self.above {
                gather_block::<S>(block, (index * BLOCK) as u32, self.above, &mut found);
                self.narrow(&mut found);
            }
        }
        found
    }
}

impl Gather<'_> {
    /// Drops what cannot be among the `keep` largest, once there is much of it.
    fn narrow(&mut self, found: &mut Vec<(u32, f32)>) {
        if found.len() >= self.keep.saturating_mul(2).max(BLOCK) {
            found.select_nth_unstable_by_key(self.keep - 1, |&(id, logit)| rank(id, logit));
            found.truncate(self.keep);
            // An equal logit loses against those before it.
            self.above = found[self.keep - 1].1;
        }
    }
}

#[inline(always)]
fn gather_block<S: Simd>(block: &[f32], start: u32, above: f32, found: &mut Vec<(u32, f32)>) {
    let least = S::splat(above);
    let (chunks, rest) = block.as_chunks::<LANES>();
    for (index, chunk) in chunks.iter().enumerate() {
        let lanes = S::greater(load::<S>(chunk), least);
        push_lanes(chunk, start + (index * LANES) as u32, lanes, found);
    }
    if !rest.is_empty() {
        let lanes = S::greater(load_rest::<S>(rest), least);
        push_lanes(rest, start + (chunks.len() * LANES) as u32, lanes, found);
    }
}

#[inline(always)]
fn push_lanes(logits: &[f32], start: u32, mut lanes: u16, found: &mut Vec<(u32, f32)>) {
    while lanes != 0 {
        let lane = lanes.trailing_zeros();
        found.push((start + lane, logits[lane as usize]));
        lanes &= lanes - 1;
    }
}
