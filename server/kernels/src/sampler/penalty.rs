//! Penalties on tokens that are in the text already.

use std::collections::HashMap;

use super::SamplingParams;
use super::edit::Edit;

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

/// Token counts of a sequence; empty where no penalty asks for them.
#[derive(Debug, Default)]
pub(super) struct Counts(HashMap<u32, Count>);

impl Counts {
    pub(super) fn new(params: &SamplingParams, prompt: &[u32], generated: &[u32]) -> Self {
        let mut counts = Self::default();
        if is_on(params) {
            for &token in prompt {
                counts.0.entry(token).or_default().in_prompt = true;
            }
            for &token in generated {
                counts.add(params, token);
            }
        }
        counts
    }

    /// Counts a drawn token, where a penalty will ask for it.
    pub(super) fn add(&mut self, params: &SamplingParams, token: u32) {
        if is_on(params) {
            self.0.entry(token).or_default().generated += 1;
        }
    }

    /// Applies all penalties.
    pub(super) fn penalize(&self, params: &SamplingParams, row: &mut Edit<'_>) {
        for (&token, count) in &self.0 {
            row.change(token, |logit| count.penalize(params, logit));
        }
    }
}

fn is_on(params: &SamplingParams) -> bool {
    params.repetition_penalty != 1.0
        || params.frequency_penalty != 0.0
        || params.presence_penalty != 0.0
}
