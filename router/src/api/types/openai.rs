//! What the `/v1` routes share.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One text or a list of them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected a string or a list of strings")]
pub enum OneOrMany {
    /// One text.
    One(String),
    /// Several texts.
    Many(Vec<String>),
}

impl OneOrMany {
    /// The texts as a list.
    #[must_use]
    pub fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::Many(texts) => texts,
        }
    }
}

/// What a stream carries beside the answer.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub struct StreamOptions {
    /// Whether a last chunk tells the token counts. Default false.
    pub include_usage: Option<bool>,
    /// Whether chunks without choices tell, under `prefill`, how far a long prefill is. Default
    /// false.
    pub prefill_progress: Option<bool>,
}

/// How far a prefill is; at most every 250 ms, and never for a short one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct PrefillProgress {
    /// Prompt tokens taken from the cache.
    pub cached: u32,
    /// Prompt tokens that need no more computing, the cached ones included.
    pub done: u32,
    /// Prompt tokens.
    pub total: u32,
    /// Estimate of the seconds until the first token.
    pub eta: f32,
}

/// Why a choice ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FinishReason {
    /// The model is done, or a stop string was found.
    Stop,
    /// The length limit.
    Length,
    /// Functions are to be called.
    #[serde(rename = "tool_calls")]
    ToolCalls,
}

/// Log probability of a token.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct TokenLogprob {
    /// The token's text.
    pub token: String,
    /// Natural log of its probability under the model.
    pub logprob: f32,
    /// The text's bytes.
    pub bytes: Vec<u8>,
    /// The most likely tokens at this position.
    pub top_logprobs: Vec<TopLogprob>,
}

/// A token that was likely at some position.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct TopLogprob {
    /// The token's text.
    pub token: String,
    /// Natural log of its probability under the model.
    pub logprob: f32,
    /// The text's bytes.
    pub bytes: Vec<u8>,
}

/// Token counts of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Usage {
    /// Tokens of the prompts.
    pub prompt_tokens: u32,
    /// Tokens of the answers.
    pub completion_tokens: u32,
    /// Their sum.
    pub total_tokens: u32,
    /// What the cache spared.
    pub prompt_tokens_details: PromptTokensDetails,
}

/// Prompt tokens by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct PromptTokensDetails {
    /// Tokens that did not have to be computed.
    pub cached_tokens: u32,
}
