//! What a validated request is: the value that handlers hand to the queue.

use crate::grammar::Grammar;

/// A request that broke no rule. Only validation makes one.
#[derive(Debug, Clone)]
pub struct ValidRequest {
    /// Prompt token ids, at least one.
    pub tokens: Vec<u32>,
    /// Most tokens to generate, at least 1; prompt + answer fit the model's limit.
    pub max_new_tokens: u32,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Ids that end the answer.
    pub stop_token_ids: Vec<u32>,
    /// Most likely tokens to report at each position.
    pub top_n_tokens: u32,
    /// What the answer must follow, checked.
    pub grammar: Option<Grammar>,
    /// Whether the prompt's log probabilities are reported.
    pub prompt_logprobs: bool,
    /// Whether it is reported how far a long prefill is.
    pub progress: bool,
}

/// Sampling parameters, with the meaning of `Sampling` in `engine.proto`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// 0 takes the most likely token.
    pub temperature: f32,
    /// 0 keeps all.
    pub top_k: u32,
    /// 1 keeps all.
    pub top_p: f32,
    /// 1 keeps all.
    pub typical_p: f32,
    /// 1 is off.
    pub repetition_penalty: f32,
    /// 0 is off.
    pub frequency_penalty: f32,
    /// 0 is off.
    pub presence_penalty: f32,
    /// Keys the generator.
    pub seed: u64,
    /// What makes the text recognizable, if anything.
    pub watermark: Option<Watermark>,
}

/// A watermark (Kirchenbauer et al., arXiv:2301.10226).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Watermark {
    /// Share of the vocabulary that is favoured behind each token.
    pub gamma: f32,
    /// What is added to the favoured tokens' logits.
    pub delta: f32,
}

impl Default for Sampling {
    /// The model's own distribution.
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            typical_p: 1.0,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            seed: 0,
            watermark: None,
        }
    }
}
