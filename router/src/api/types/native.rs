//! The native routes: `/generate`, `/generate_stream`, `/` and `/tokenize`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::NativeError;
use super::grammar::GrammarRequest;
use super::openai::PrefillProgress;

/// A prompt and how to continue it.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub struct GenerateRequest {
    /// The prompt.
    #[schema(example = "The capital of France is")]
    pub inputs: String,
    /// How to continue it.
    pub parameters: Option<Parameters>,
    /// Whether to stream; read by `/` only.
    pub stream: Option<bool>,
}

/// How a prompt is continued. `null` means the default everywhere.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub struct Parameters {
    /// Answers to draw; the one with the highest mean log probability is returned. Default 1.
    #[schema(minimum = 1)]
    pub best_of: Option<u32>,
    /// Above 0; higher is more random. Default 1. Setting it turns sampling on.
    #[schema(exclusive_minimum = 0)]
    pub temperature: Option<f32>,
    /// Above 0; divides the logits of tokens already in the text. Default 1 (off).
    #[schema(exclusive_minimum = 0)]
    pub repetition_penalty: Option<f32>,
    /// -2 to 2; subtracted per earlier occurrence in the answer. Default 0 (off).
    #[schema(minimum = -2, maximum = 2)]
    pub frequency_penalty: Option<f32>,
    /// Above 0; keeps the k most likely tokens. Default: all. Setting it turns sampling on.
    #[schema(minimum = 1)]
    pub top_k: Option<u32>,
    /// Above 0, at most 1; keeps the likeliest tokens of this mass. Default 1. Setting it turns
    /// sampling on.
    #[schema(exclusive_minimum = 0, maximum = 1)]
    pub top_p: Option<f32>,
    /// Above 0, at most 1; keeps locally typical tokens of this mass. Default 1. Setting it turns
    /// sampling on.
    #[schema(exclusive_minimum = 0, maximum = 1)]
    pub typical_p: Option<f32>,
    /// Whether to sample. Default false: the most likely token.
    pub do_sample: Option<bool>,
    /// Most tokens to generate. Default: what the context has room for.
    #[schema(example = 20, minimum = 1)]
    pub max_new_tokens: Option<u32>,
    /// Whether the text begins with the prompt. Default false.
    pub return_full_text: Option<bool>,
    /// Texts that end the answer; the one found stays at its end.
    pub stop: Option<Vec<String>>,
    /// Keeps the last n tokens of the prompt. Default: all.
    #[schema(minimum = 1)]
    pub truncate: Option<u32>,
    /// Whether the answer is marked, so that it can be told to be generated. Default false.
    pub watermark: Option<bool>,
    /// Whether to report tokens, finish reason and the like. Default false.
    pub details: Option<bool>,
    /// Whether to report the log probabilities of the prompt, which is then computed anew; not for
    /// streams. Default false.
    pub decoder_input_details: Option<bool>,
    /// Whether events `{"prefill": {...}}` tell how far a long prefill is; for streams alone.
    /// Default false.
    pub prefill_progress: Option<bool>,
    /// Repeats a sampled answer. Default: random.
    pub seed: Option<u64>,
    /// Most likely tokens to report at each position. Default 0.
    pub top_n_tokens: Option<u32>,
    /// What the answer must follow. Default: anything goes.
    pub grammar: Option<GrammarRequest>,
    /// Not supported; null.
    pub adapter_id: Option<String>,
    /// Whether to go on after an end-of-text token; for benchmarks. Default false.
    pub ignore_eos: Option<bool>,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct GenerateResponse {
    /// The text, a stop string that ended it included.
    pub generated_text: String,
    /// Present when `details` or `decoder_input_details` was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
}

/// What ended an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The length limit.
    Length,
    /// The model said it is done.
    EosToken,
    /// A stop string.
    StopSequence,
}

/// A token of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Token {
    /// Token id.
    pub id: u32,
    /// The text that became complete with it; may be empty.
    pub text: String,
    /// Natural log of its probability under the model.
    pub logprob: f32,
    /// Special tokens are not part of the text.
    pub special: bool,
}

/// A token of a prompt, and what the model makes of it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct PrefillToken {
    /// Token id.
    pub id: u32,
    /// The text that became complete with it; may be empty.
    pub text: String,
    /// Natural log of its probability under the model; null for the first one.
    pub logprob: Option<f32>,
}

/// How an answer came about.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Details {
    /// What ended the answer.
    pub finish_reason: FinishReason,
    /// Tokens of the answer.
    pub generated_tokens: u32,
    /// The seed that repeats the answer; null unless it was sampled.
    pub seed: Option<u64>,
    /// Prompt tokens that did not have to be computed.
    pub cached_tokens: u32,
    /// Tokens of the prompt, when `decoder_input_details` was asked for.
    pub prefill: Vec<PrefillToken>,
    /// Tokens of the answer.
    pub tokens: Vec<Token>,
    /// Most likely tokens at each position, when asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub top_tokens: Vec<Vec<Token>>,
    /// The other answers of `best_of`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub best_of_sequences: Option<Vec<BestOfSequence>>,
}

/// An answer that `best_of` did not choose.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct BestOfSequence {
    /// The text.
    pub generated_text: String,
    /// What ended the answer.
    pub finish_reason: FinishReason,
    /// Tokens of the answer.
    pub generated_tokens: u32,
    /// The seed that repeats the answer.
    pub seed: Option<u64>,
    /// As in [`Details`].
    pub prefill: Vec<PrefillToken>,
    /// Tokens of the answer.
    pub tokens: Vec<Token>,
    /// Most likely tokens at each position, when asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub top_tokens: Vec<Vec<Token>>,
}

/// One event of a stream: a token. The last one also carries the whole text.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct StreamResponse {
    /// Position in the answer, from 1.
    pub index: u32,
    /// The token.
    pub token: Token,
    /// Most likely tokens at this position, when asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub top_tokens: Vec<Token>,
    /// The whole text, on the last event.
    pub generated_text: Option<String>,
    /// On the last event, when `details` was asked for.
    pub details: Option<StreamDetails>,
}

/// An event of a stream whose prompt is still being computed.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct PrefillEvent {
    /// How far that is.
    pub prefill: PrefillProgress,
}

/// Any event of a stream, as its `data` says it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum StreamEvent {
    /// A token.
    Token(StreamResponse),
    /// The prompt is still being computed.
    Prefill(PrefillEvent),
    /// The answer failed; nothing follows.
    Error(NativeError),
}

/// How a streamed answer came about.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct StreamDetails {
    /// What ended the answer.
    pub finish_reason: FinishReason,
    /// Tokens of the answer.
    pub generated_tokens: u32,
    /// The seed that repeats the answer; null unless it was sampled.
    pub seed: Option<u64>,
    /// Tokens of the prompt.
    pub input_length: u32,
    /// Prompt tokens that did not have to be computed.
    pub cached_tokens: u32,
}

/// A token of a prompt.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct SimpleToken {
    /// Token id.
    pub id: u32,
    /// The text it stands for.
    pub text: String,
    /// First byte of that text in the input.
    pub start: usize,
    /// Byte after its last.
    pub stop: usize,
}
