//! Candidates of a draw and the filters that narrow them.

use std::ops::RangeInclusive;

use super::gather::rank;
use super::scan::Scan;
use crate::simd::Isa;

/// How many of the foremost candidates a filter looks at first; eight times more until they suffice.
const FIRST_LOOK: usize = 256;

/// Weights down to which a nucleus is looked for, one after the other: the largest is 1, and few
/// tokens come near it.
const NUCLEUS_FLOORS: [f64; 3] = [1.0 / 64.0, 1.0 / 4096.0, 1.0 / 262_144.0];

/// Distances in bits of surprise, up to which typical tokens are looked for, one after the other.
const TYPICAL_REACHES: [f64; 6] = [0.5, 1.0, 2.0, 4.0, 8.0, 16.0];

/// A token that may be drawn.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    id: u32,
    logit: f32,
    /// Its probability up to a common factor.
    weight: f64,
}

impl Candidate {
    /// Orders from the most likely, by id among equals.
    fn rank(&self) -> u64 {
        rank(self.id, self.logit)
    }
}

/// Tokens that may be drawn, in an order that only logits and filters decide. Never empty.
#[derive(Debug)]
pub(super) struct Candidates<'a> {
    scan: &'a Scan,
    tokens: Vec<Candidate>,
}

impl<'a> Candidates<'a> {
    /// The `top_k` most likely tokens.
    pub(super) fn top_k(isa: Isa, logits: &[f32], scan: &'a Scan, top_k: usize) -> Self {
        Self::weighted(isa, scan, scan.largest(isa, logits, top_k))
    }

    /// The tokens whose surprise is nearest to the expected one, up to a mass of `typical_p`.
    pub(super) fn typical(isa: Isa, logits: &[f32], scan: &'a Scan, typical_p: f32) -> Self {
        let expected = scan.mean_log_weight(isa, logits);
        let target = f64::from(typical_p) * scan.total();
        let near = TYPICAL_REACHES.iter().find_map(|&reach| {
            let near = Self::near(isa, logits, scan, (expected - reach)..=(expected + reach));
            (near.mass() >= target).then_some(near)
        });
        // The whole row at last.
        let mut candidates =
            near.unwrap_or_else(|| Self::near(isa, logits, scan, f64::MIN..=f64::MAX));
        candidates.keep_nearest(expected, target);
        candidates
    }

    /// The tokens whose weights have binary logarithms in a range.
    fn near(isa: Isa, logits: &[f32], scan: &'a Scan, log_weights: RangeInclusive<f64>) -> Self {
        let bound = |log_weight: &f64| scan.scale().logit(*log_weight, scan.best());
        let (least, most) = (bound(log_weights.start()), bound(log_weights.end()));
        let mut tokens = scan.at_least(isa, logits, least);
        tokens.retain(|&(_, logit)| logit <= most);
        Self::weighted(isa, scan, tokens)
    }

    /// Tokens among which is the smallest set of most likely ones whose probabilities reach `top_p`.
    pub(super) fn nucleus(isa: Isa, logits: &[f32], scan: &'a Scan, top_p: f32) -> Self {
        let total = scan.total();
        // All tokens below this together weigh less than what top_p leaves out.
        let last = (1.0 - f64::from(top_p)) * total / logits.len() as f64;
        for floor in NUCLEUS_FLOORS.into_iter().filter(|&floor| floor > last) {
            let candidates = Self::above(isa, logits, scan, floor);
            if candidates.mass() >= f64::from(top_p) * total {
                return candidates;
            }
        }
        Self::above(isa, logits, scan, last)
    }

    fn above(isa: Isa, logits: &[f32], scan: &'a Scan, floor: f64) -> Self {
        let least = scan.scale().logit(floor.log2(), scan.best());
        Self::weighted(isa, scan, scan.at_least(isa, logits, least))
    }

    fn weighted(isa: Isa, scan: &'a Scan, tokens: Vec<(u32, f32)>) -> Self {
        let (ids, logits): (Vec<u32>, Vec<f32>) = tokens.into_iter().unzip();
        let weights = scan.weights(isa, &logits);
        let all = ids.into_iter().zip(logits).zip(weights);
        let possible = all.filter(|&(_, weight)| weight > 0.0);
        let tokens = possible.map(|((id, logit), weight)| Candidate {
            id,
            logit,
            weight: f64::from(weight),
        });
        Self {
            scan,
            tokens: tokens.collect(),
        }
    }

    /// Keeps the smallest set of most likely tokens whose probabilities reach `top_p` of `total`.
    pub(super) fn keep_top_p(&mut self, top_p: f32, total: f64) {
        if top_p < 1.0 {
            let target = f64::from(top_p) * total;
            keep_first(&mut self.tokens, Candidate::rank, |c| c.weight, target);
        }
    }

    /// Keeps the tokens whose surprise is nearest to the expected one, up to a mass of `typical_p`.
    pub(super) fn keep_typical(&mut self, typical_p: f32) {
        if typical_p < 1.0 {
            let total = self.mass();
            let weighted = self.tokens.iter().map(|c| c.weight * self.log_weight(c));
            let expected = weighted.sum::<f64>() / total;
            self.keep_nearest(expected, f64::from(typical_p) * total);
        }
    }

    /// Keeps the tokens whose weights have logarithms nearest to `expected`, up to a mass. The
    /// surprise is a constant minus that logarithm.
    fn keep_nearest(&mut self, expected: f64, mass: f64) {
        let (scale, best) = (self.scan.scale(), self.scan.best());
        let order = |candidate: &Candidate| {
            let distance = (scale.log_weight(candidate.logit, best) - expected).abs();
            (distance.to_bits(), candidate.rank()) // bits of numbers from 0 order as they do
        };
        keep_first(&mut self.tokens, order, |c| c.weight, mass);
    }

    fn log_weight(&self, candidate: &Candidate) -> f64 {
        let (scale, best) = (self.scan.scale(), self.scan.best());
        scale.log_weight(candidate.logit, best)
    }

    /// The token at a point of the cumulative distribution, `point` in [0, 1).
    pub(super) fn pick(&self, point: f64) -> u32 {
        let target = point * self.mass();
        let mut sum = 0.0;
        for candidate in &self.tokens {
            sum += candidate.weight;
            if target < sum {
                return candidate.id;
            }
        }
        self.tokens.last().expect("never empty").id // rounding left the sum below the target
    }

    /// The sum of the weights.
    pub(super) fn mass(&self) -> f64 {
        self.tokens.iter().map(|candidate| candidate.weight).sum()
    }
}

/// Keeps the first items, in order, whose weights reach `target` together; at least one.
fn keep_first<T, K: Ord>(
    items: &mut Vec<T>,
    order: impl Fn(&T) -> K,
    weight: impl Fn(&T) -> f64,
    target: f64,
) {
    let mut look = FIRST_LOOK;
    while look < items.len() {
        items.select_nth_unstable_by_key(look, &order);
        if items[..look].iter().map(&weight).sum::<f64>() >= target {
            items.truncate(look);
        }
        look *= 8;
    }
    items.sort_unstable_by_key(&order);
    let mut sum = 0.0;
    let reached = items.iter().position(|item| {
        sum += weight(item);
        sum >= target
    });
    items.truncate(reached.map_or(items.len(), |index| index + 1));
}
