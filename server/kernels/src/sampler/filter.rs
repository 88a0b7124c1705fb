//! Candidates of a draw and the filters that narrow them.

use std::cmp::Ordering;

use super::logprob::largest;

/// How many of the most likely tokens top-p looks at first; eight times more until they suffice.
const FIRST_LOOK: usize = 256;

/// Tokens and their weights, in an order that only logits and filters decide. Never empty.
#[derive(Debug)]
pub(super) struct Candidates(Vec<Candidate>);

#[derive(Debug, Clone, Copy)]
struct Candidate {
    id: u32,
    /// Probability up to a common factor.
    weight: f64,
}

/// Most likely first, lower ids first among equals.
fn by_weight(a: &Candidate, b: &Candidate) -> Ordering {
    b.weight.total_cmp(&a.weight).then(a.id.cmp(&b.id))
}

fn mass(candidates: &[Candidate]) -> f64 {
    candidates.iter().map(|candidate| candidate.weight).sum()
}

/// How many candidates, from the first, have this mass together; at least one.
fn count_to_reach(candidates: &[Candidate], target: f64) -> usize {
    let mut sum = 0.0;
    let reached = candidates.iter().position(|candidate| {
        sum += candidate.weight;
        sum >= target
    });
    reached.map_or(candidates.len(), |index| index + 1)
}

impl Candidates {
    /// The `top_k` most likely tokens (0: all) at a temperature above 0.
    pub(super) fn new(logits: &[f32], temperature: f32, top_k: usize) -> Self {
        let kept: Vec<(u32, f32)> = if top_k == 0 {
            (0u32..).zip(logits.iter().copied()).collect()
        } else {
            largest(logits, top_k)
        };
        let best = kept.iter().map(|&(_, logit)| logit).fold(f32::NEG_INFINITY, f32::max);
        let weight = |logit: f32| {
            if best == f32::INFINITY {
                return f64::from(u8::from(logit == best)); // infinite logits share all
            }
            f64::from(((logit - best) / temperature).exp())
        };
        let all = kept.iter().map(|&(id, logit)| Candidate { id, weight: weight(logit) });
        Self(all.filter(|candidate| candidate.weight > 0.0).collect()) // NaN is not above 0 either
    }

    /// Keeps the smallest set of most likely tokens whose probabilities reach `top_p`.
    pub(super) fn keep_top_p(&mut self, top_p: f32) {
        if top_p >= 1.0 {
            return;
        }
        let all = &mut self.0;
        let target = f64::from(top_p) * mass(all);
        let mut look = FIRST_LOOK;
        while look < all.len() {
            all.select_nth_unstable_by(look, by_weight);
            if mass(&all[..look]) >= target {
                all.truncate(look);
            }
            look *= 8;
        }
        all.sort_unstable_by(by_weight);
        all.truncate(count_to_reach(all, target));
    }

    /// Keeps the tokens whose surprise is nearest to the expected one, up to a mass of `typical_p`.
    pub(super) fn keep_typical(&mut self, typical_p: f32) {
        if typical_p >= 1.0 {
            return;
        }
        let total = mass(&self.0);
        let surprise = |candidate: &Candidate| -(candidate.weight / total).ln();
        let expected: f64 = self.0.iter().map(|c| c.weight / total * surprise(c)).sum();
        let distance = |candidate: &Candidate| (surprise(candidate) - expected).abs();
        self.0.sort_by(|a, b| distance(a).total_cmp(&distance(b)).then(by_weight(a, b)));
        self.0.truncate(count_to_reach(&self.0, f64::from(typical_p) * total));
    }

    /// The token at a point of the cumulative distribution, `point` in [0, 1).
    pub(super) fn pick(&self, point: f64) -> u32 {
        let target = point * mass(&self.0);
        let mut sum = 0.0;
        for candidate in &self.0 {
            sum += candidate.weight;
            if target < sum {
                return candidate.id;
            }
        }
        self.0.last().expect("never empty").id // rounding left the sum below the target
    }
}
