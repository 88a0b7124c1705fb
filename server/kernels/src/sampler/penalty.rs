//! Penalties on tokens that are in the text already.

use std::collections::HashMap;

use super::SamplingParams;

/// How often a token is in the text.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    in_prompt: bool,
    generated: u32,
}

impl Count {
    fn penalize(self, params: &SamplingParams, logit: f32) -> f32 {
        let factor = params.repetition_penalty;
        let repeated = if logit > 0.0 {
            logit / factor
        } else {
            logit * factor
        };
        if self.generated == 0 {
            return repeated;
        }
        repeated - params.frequency_penalty * self.generated as f32 - params.presence_penalty
    }
}

/// Token counts of a sequence.
#[derive(Debug, Default)]
pub(super) struct Counts(HashMap<u32, Count>);

impl Counts {
    pub(super) fn new(prompt: &[u32], generated: &[u32]) -> Self {
        let mut counts: HashMap<u32, Count> = HashMap::new();
        for &token in prompt {
            counts.entry(token).or_default().in_prompt = true;
        }
        for &token in generated {
            counts.entry(token).or_default().generated += 1;
        }
        Self(counts)
    }

    /// Counts a drawn token, where a penalty will ask for it.
    pub(super) fn add(&mut self, params: &SamplingParams, token: u32) {
        if is_on(params) {
            self.0.entry(token).or_default().generated += 1;
        }
    }

    /// The logits with all penalties, or `None` when none changes anything.
    pub(super) fn penalize(&self, params: &SamplingParams, logits: &[f32]) -> Option<Vec<f32>> {
        if !is_on(params) || self.0.is_empty() {
            return None;
        }
        let mut penalized = logits.to_vec();
        for (&token, count) in &self.0 {
            let logit = &mut penalized[token as usize];
            if logit.is_finite() {
                // What is possible stays possible, also next to the largest floats.
                *logit = count.penalize(params, *logit).clamp(f32::MIN, f32::MAX);
            }
        }
        Some(penalized)
    }
}

fn is_on(params: &SamplingParams) -> bool {
    params.repetition_penalty != 1.0
        || params.frequency_penalty != 0.0
        || params.presence_penalty != 0.0
}
