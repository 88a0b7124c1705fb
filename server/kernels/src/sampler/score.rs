//! What logits say about tokens that are in the text already.

use super::scan::{Scale, Scan};
use super::{Sample, Sampler, SamplerError, log_probability};

/// A token whose probability is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Score {
    /// Its id.
    pub token: u32,
    /// Most likely tokens to report beside it.
    pub top_n: u32,
}

impl Sampler {
    /// Checks that the tokens to score are in the vocabulary.
    ///
    /// # Errors
    /// `Token`.
    pub fn check_scores(&self, scores: &[Score]) -> Result<(), SamplerError> {
        self.check_tokens(scores.iter().map(|score| &score.token))
    }

    /// What a row of logits says about a token, whatever the parameters of a slot.
    ///
    /// # Errors
    /// `Shape`, `Token`.
    pub fn score(&self, score: Score, logits: &[f32]) -> Result<Sample, SamplerError> {
        self.check_shape(logits, 1)?;
        self.check_scores(&[score])?;
        let scan = Scan::new(self.isa, logits, Scale::UNMODIFIED);
        let log_sum = scan.log_sum_exp();
        let top = scan.largest(self.isa, logits, score.top_n as usize);
        Ok(Sample {
            token: score.token,
            logprob: log_probability(logits[score.token as usize], log_sum),
            top: log_probabilities(top, log_sum),
        })
    }

    /// What each row of logits says about a token; logits: scores.len() times the vocabulary.
    ///
    /// # Errors
    /// `Shape`, `Token`.
    pub fn score_all(&self, logits: &[f32], scores: &[Score]) -> Result<Vec<Sample>, SamplerError> {
        self.check_shape(logits, scores.len())?;
        let rows = scores.iter().zip(logits.chunks_exact(self.vocab_size));
        rows.map(|(&score, logits)| self.score(score, logits))
            .collect()
    }
}

/// The tokens that are possible, with their log probabilities.
pub(super) fn log_probabilities(logits: Vec<(u32, f32)>, log_sum: f64) -> Vec<(u32, f32)> {
    let logprobs = logits
        .into_iter()
        .map(|(id, logit)| (id, log_probability(logit, log_sum)));
    logprobs
        .filter(|(_, logprob)| logprob.is_finite())
        .collect()
}
