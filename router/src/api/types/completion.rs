//! `/v1/completions`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::grammar::ResponseFormat;
use super::openai::{FinishReason, OneOrMany, StreamOptions, Usage};

/// Prompts and how to continue them.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct CompletionRequest {
    /// The served model's id or alias, "tgi", or nothing.
    pub model: Option<String>,
    /// One prompt or several, as text or as token ids.
    pub prompt: Prompt,
    /// Most tokens to generate for each; 0 needs `echo`. Default: what the context has room for.
    pub max_tokens: Option<u32>,
    /// From 0 to 2; 0 takes the most likely token. Default 1.
    #[schema(minimum = 0, maximum = 2)]
    pub temperature: Option<f32>,
    /// Above 0, at most 1; keeps the likeliest tokens of this mass. Default 1.
    #[schema(exclusive_minimum = 0, maximum = 1)]
    pub top_p: Option<f32>,
    /// Above 0; keeps the k most likely tokens. 0 and -1 keep all, which is the default.
    pub top_k: Option<i64>,
    /// Not supported; 0 or null.
    pub min_p: Option<f32>,
    /// Not supported; 0 or null.
    pub min_tokens: Option<u32>,
    /// Whether to go on after an end-of-text token; for benchmarks. Default false.
    pub ignore_eos: Option<bool>,
    /// Above 0; divides the logits of tokens already in the text. Default 1 (off).
    #[schema(exclusive_minimum = 0)]
    pub repetition_penalty: Option<f32>,
    /// -2 to 2; subtracted per earlier occurrence in the answer. Default 0.
    #[schema(minimum = -2, maximum = 2)]
    pub frequency_penalty: Option<f32>,
    /// -2 to 2; subtracted once for tokens in the answer. Default 0.
    #[schema(minimum = -2, maximum = 2)]
    pub presence_penalty: Option<f32>,
    /// Texts that end the answer; they are not part of it.
    pub stop: Option<OneOrMany>,
    /// Whether to stream. Default false.
    pub stream: Option<bool>,
    /// What a stream carries beside the answer.
    pub stream_options: Option<StreamOptions>,
    /// Repeats a sampled answer. Default: random.
    pub seed: Option<i64>,
    /// Answers to draw for each prompt. Default 1.
    #[schema(minimum = 1)]
    pub n: Option<u32>,
    /// Most likely tokens to report at each position. Default: no log probabilities.
    pub logprobs: Option<u32>,
    /// Answers drawn for each prompt, of which the `n` with the highest mean log probability are
    /// returned; more than `n` cannot be streamed. Default: `n`.
    #[schema(minimum = 1)]
    pub best_of: Option<u32>,
    /// Whether the text begins with the prompt; `logprobs` then tells about the prompt's tokens too.
    /// Default false.
    pub echo: Option<bool>,
    /// Not supported; null or empty.
    #[schema(max_length = 0)]
    pub suffix: Option<String>,
    /// Added to the logits of tokens: from -100 to 100 by token id, for at most 300 tokens.
    pub logit_bias: Option<BTreeMap<String, f32>>,
    /// What the answer must follow. Default: text.
    pub response_format: Option<ResponseFormat>,
}

/// Prompts as text or as token ids.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(
    untagged,
    expecting = "expected a string, a list of strings, a list of token ids or a list of such lists"
)]
pub enum Prompt {
    /// Text.
    Text(OneOrMany),
    /// Tokens of one prompt.
    Ids(Vec<u32>),
    /// Tokens of several prompts.
    ManyIds(Vec<Vec<u32>>),
}

impl Default for Prompt {
    fn default() -> Self {
        Self::Ids(Vec::new())
    }
}

/// Whole answers, or a piece of streamed ones: both have this shape.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Completion {
    /// The same on all chunks of an answer.
    pub id: String,
    /// "text_completion".
    pub object: &'static str,
    /// Seconds since 1970.
    pub created: u64,
    /// The model that answered.
    pub model: String,
    /// Changes with the server's version and the model's weights.
    pub system_fingerprint: String,
    /// The answers, in the order of the prompts; what is new of them in a stream.
    pub choices: Vec<CompletionChoice>,
    /// Token counts; in a stream on the last chunk, when asked for.
    pub usage: Option<Usage>,
}

/// One answer, or what is new of it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct CompletionChoice {
    /// Number of the prompt times `n`, plus which of `n`.
    pub index: u32,
    /// The text.
    pub text: String,
    /// When asked for.
    pub logprobs: Option<CompletionLogprobs>,
    /// Why it ended; null on chunks but the last.
    pub finish_reason: Option<FinishReason>,
}

/// Log probabilities of an answer's tokens, as parallel lists.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct CompletionLogprobs {
    /// Texts of the tokens.
    pub tokens: Vec<String>,
    /// Natural logs of their probabilities under the model; null for the first one of a prompt.
    pub token_logprobs: Vec<Option<f32>>,
    /// Log probabilities of the most likely tokens at each position, by text; null as above.
    pub top_logprobs: Vec<Option<serde_json::Map<String, Value>>>,
    /// Where in the choice's text, in characters, each token's text begins.
    pub text_offset: Vec<usize>,
}
