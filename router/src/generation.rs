//! A running request as its handler sees it: a stream of tokens that ends with exactly one
//! terminal event. Dropping it before that cancels the request wherever it is.

use std::time::Duration;

use crate::error::ApiError;

/// One event of a generation.
#[derive(Debug)]
pub enum Event {
    /// The next token of the answer.
    Token(Token),
    /// The answer is complete; nothing follows.
    Finished(Finished),
    /// The request failed; nothing follows.
    Failed(ApiError),
}

/// A drawn token.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// Position in the answer, from 0.
    pub index: u32,
    /// Token id.
    pub id: u32,
    /// Natural log of its probability.
    pub logprob: f32,
    /// The most likely tokens at this position and their log probabilities.
    pub top: Vec<(u32, f32)>,
}

/// Why and how a generation ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    /// What ended it.
    pub reason: FinishReason,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens of the answer that stand.
    pub generated_tokens: u32,
    /// What it cost.
    pub receipt: Receipt,
}

/// What ended a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// The length limit.
    Length,
    /// A stop token was drawn.
    StopToken,
    /// `Generation::stop` (a stop string was found).
    Stopped,
}

/// Where the time went and what the cache spared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Receipt {
    /// Prompt tokens taken from the cache.
    pub cached_tokens: u32,
    /// From submission to the first scheduled step (router queue and shard together).
    pub queue: Duration,
    /// From there to the first token.
    pub prefill: Duration,
    /// From the first token to the last.
    pub decode: Duration,
}
