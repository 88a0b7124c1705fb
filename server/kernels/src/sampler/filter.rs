//! Candidates of a draw and the filters that narrow them.

use super::logprob::{exp_of_negative, largest, maximum};

/// How many of the foremost candidates a filter looks at first; eight times more until they suffice.
const FIRST_LOOK: usize = 256;

/// A token and its probability up to a common factor. Orders by falling weight, then rising id.
///
/// Both are packed into one integer, since a vocabulary of them is sorted: the bits of floats that
/// are not negative order as the floats do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate(u64);

impl Candidate {
    fn new(id: u32, weight: f32) -> Self {
        Self(u64::from(!weight.to_bits()) << 32 | u64::from(id))
    }

    fn id(self) -> u32 {
        self.0 as u32
    }

    fn weight(self) -> f64 {
        f64::from(f32::from_bits(!((self.0 >> 32) as u32)))
    }
}

/// Tokens that may be drawn, in an order that only logits and filters decide. Never empty.
#[derive(Debug)]
pub(super) struct Candidates(Vec<Candidate>);

impl Candidates {
    /// The `top_k` most likely tokens (0: all) at a temperature above 0.
    pub(super) fn new(logits: &[f32], temperature: f32, top_k: usize) -> Self {
        if top_k == 0 {
            return Self::weighted(0.., logits, temperature);
        }
        let (ids, logits): (Vec<u32>, Vec<f32>) = largest(logits, top_k).into_iter().unzip();
        Self::weighted(ids, &logits, temperature)
    }

    fn weighted(ids: impl IntoIterator<Item = u32>, logits: &[f32], temperature: f32) -> Self {
        let best = maximum(logits);
        let weights: Vec<f32> = if best == f32::INFINITY {
            // Infinite logits share all.
            logits
                .iter()
                .map(|&logit| f32::from(u8::from(logit == best)))
                .collect()
        } else {
            logits
                .iter()
                .map(|&logit| exp_of_negative((logit - best) / temperature))
                .collect()
        };
        let all = ids
            .into_iter()
            .zip(weights)
            .filter(|&(_, weight)| weight > 0.0);
        Self(all.map(|(id, weight)| Candidate::new(id, weight)).collect())
    }

    /// Keeps the smallest set of most likely tokens whose probabilities reach `top_p`.
    pub(super) fn keep_top_p(&mut self, top_p: f32) {
        if top_p < 1.0 {
            let target = f64::from(top_p) * self.mass();
            keep_first(&mut self.0, |candidate| candidate.weight(), target);
        }
    }

    /// Keeps the tokens whose surprise is nearest to the expected one, up to a mass of `typical_p`.
    pub(super) fn keep_typical(&mut self, typical_p: f32) {
        if typical_p >= 1.0 {
            return;
        }
        let total = self.mass();
        let surprises: Vec<f64> = self.0.iter().map(|c| -(c.weight() / total).ln()).collect();
        let weighted = self.0.iter().zip(&surprises);
        let expected: f64 = weighted
            .map(|(c, surprise)| c.weight() / total * surprise)
            .sum();
        let distance = |surprise: f64| (surprise - expected).abs().to_bits(); // orders as the float
        let by_distance = surprises.iter().zip(&self.0);
        let mut order: Vec<_> = by_distance
            .map(|(&s, &candidate)| (distance(s), candidate))
            .collect();
        keep_first(
            &mut order,
            |(_, candidate)| candidate.weight(),
            f64::from(typical_p) * total,
        );
        self.0 = order.into_iter().map(|(_, candidate)| candidate).collect();
    }

    /// The token at a point of the cumulative distribution, `point` in [0, 1).
    pub(super) fn pick(&self, point: f64) -> u32 {
        let target = point * self.mass();
        let mut sum = 0.0;
        for candidate in &self.0 {
            sum += candidate.weight();
            if target < sum {
                return candidate.id();
            }
        }
        self.0.last().expect("never empty").id() // rounding left the sum below the target
    }

    fn mass(&self) -> f64 {
        self.0.iter().map(|candidate| candidate.weight()).sum()
    }
}

/// Keeps the first items, in order, whose weights reach `target` together; at least one.
fn keep_first<T: Ord>(items: &mut Vec<T>, weight: impl Fn(&T) -> f64, target: f64) {
    let mut look = FIRST_LOOK;
    while look < items.len() {
        items.select_nth_unstable(look);
        if items[..look].iter().map(&weight).sum::<f64>() >= target {
            items.truncate(look);
        }
        look *= 8;
    }
    items.sort_unstable();
    let mut sum = 0.0;
    let reached = items.iter().position(|item| {
        sum += weight(item);
        sum >= target
    });
    items.truncate(reached.map_or(items.len(), |index| index + 1));
}
