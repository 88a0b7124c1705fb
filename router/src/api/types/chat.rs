//! `/v1/chat/completions`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::described::chat_tool_choice;
use super::grammar::ResponseFormat;
use super::openai::{FinishReason, OneOrMany, StreamOptions, TokenLogprob, Usage};

/// A conversation and how to continue it.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub struct ChatRequest {
    /// The served model's id or alias, "tgi", or nothing.
    pub model: Option<String>,
    /// The conversation. A last message of the assistant is continued.
    #[schema(min_items = 1)]
    pub messages: Vec<ChatMessage>,
    /// Most tokens to generate; `max_completion_tokens` goes before it.
    #[schema(minimum = 1)]
    pub max_tokens: Option<u32>,
    /// Most tokens to generate. Default: what the context has room for.
    #[schema(minimum = 1)]
    pub max_completion_tokens: Option<u32>,
    /// From 0 to 2; 0 takes the most likely token. Default 1.
    #[schema(minimum = 0, maximum = 2)]
    pub temperature: Option<f32>,
    /// Above 0, at most 1; keeps the likeliest tokens of this mass. Default 1.
    #[schema(exclusive_minimum = 0, maximum = 1)]
    pub top_p: Option<f32>,
    /// Above 0; divides the logits of tokens already in the text. Default 1 (off).
    pub repetition_penalty: Option<f32>,
    /// Above 0; keeps the k most likely tokens. 0 and -1 keep all, which is the default.
    pub top_k: Option<i64>,
    /// Not supported; 0 or null.
    pub min_p: Option<f32>,
    /// Not supported; 0 or null.
    pub min_tokens: Option<u32>,
    /// Whether to go on after an end-of-text token; for benchmarks. Default false.
    pub ignore_eos: Option<bool>,
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
    /// Answers to draw. Default 1.
    #[schema(minimum = 1)]
    pub n: Option<u32>,
    /// Whether to report log probabilities. Default false.
    pub logprobs: Option<bool>,
    /// Most likely tokens to report at each position; needs `logprobs`. Default 0.
    pub top_logprobs: Option<u32>,
    /// Added to the logits of tokens: from -100 to 100 by token id, for at most 300 tokens.
    pub logit_bias: Option<BTreeMap<String, f32>>,
    /// Functions that the model may call.
    pub tools: Option<Vec<ChatTool>>,
    /// "auto", "none", "required" or `{"type": "function", "function": {"name": ..}}`. Default
    /// "auto".
    #[schema(schema_with = chat_tool_choice, required = false)]
    pub tool_choice: Option<Value>,
    /// Whether one answer may hold several calls, where it has to hold any. Default true.
    pub parallel_tool_calls: Option<bool>,
    /// What the answer must follow. Default: anything goes.
    pub response_format: Option<ResponseFormat>,
    /// What the chat template is told beside messages and tools, such as `enable_thinking`.
    #[schema(value_type = Option<Object>)]
    pub chat_template_kwargs: Option<Map<String, Value>>,
    /// Whether the prompt ends where a message of the assistant begins. Default: unless a last
    /// message of the assistant is continued.
    pub add_generation_prompt: Option<bool>,
    /// Whether the last message is continued. Default: if it is the assistant's.
    pub continue_final_message: Option<bool>,
    /// Not supported, null: the model's own template is used.
    pub chat_template: Option<String>,
    /// Not supported, null: `tools` took its place.
    pub functions: Option<Value>,
    /// Not supported, null: `tool_choice` took its place.
    pub function_call: Option<Value>,
    /// Only "text".
    pub modalities: Option<Vec<String>>,
    /// Not supported; null.
    pub audio: Option<Value>,
    /// Not supported; null.
    pub web_search_options: Option<Value>,
    /// Not supported; null or "none".
    pub reasoning_effort: Option<String>,
    /// Not supported; null or "medium".
    pub verbosity: Option<String>,
    /// Not supported; false or null.
    pub store: Option<bool>,
}

/// A message as it is sent.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub struct ChatMessage {
    /// "system", "user", "assistant" or "tool".
    pub role: String,
    /// The text.
    pub content: Option<Content>,
    /// Name of the speaker or of the tool.
    pub name: Option<String>,
    /// Calls that the assistant made.
    pub tool_calls: Option<Vec<ToolCallParam>>,
    /// Not supported, null: `tool_calls` took its place.
    pub function_call: Option<Value>,
    /// The call that a tool's message answers.
    pub tool_call_id: Option<String>,
}

/// A function that the model may call.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
pub struct ChatTool {
    /// Only "function".
    #[schema(pattern = "^function$")]
    pub r#type: String,
    /// The function.
    pub function: Option<ChatFunction>,
}

/// A function.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
pub struct ChatFunction {
    /// Its name.
    #[schema(min_length = 1)]
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// JSON schema of its arguments; null takes none.
    #[schema(value_type = Option<Object>)]
    pub parameters: Option<Map<String, Value>>,
    /// Arguments of forced calls always keep to the schema, whatever this says.
    pub strict: Option<bool>,
}

/// A call as it is sent back.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
pub struct ToolCallParam {
    /// Its id.
    pub id: Option<String>,
    /// What was called.
    pub function: CalledFunctionParam,
}

/// A called function as it is sent back.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
pub struct CalledFunctionParam {
    /// Its name.
    pub name: String,
    /// Its arguments, as JSON text or as an object.
    pub arguments: Option<Value>,
}

/// Text, whole or in parts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected a string or a list of content parts")]
pub enum Content {
    /// The text.
    Text(String),
    /// Parts that follow one another.
    Parts(Vec<ContentPart>),
}

/// A part of a message.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
pub struct ContentPart {
    /// Only "text".
    #[schema(pattern = "^text$")]
    pub r#type: String,
    /// The text.
    pub text: Option<String>,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ChatCompletion {
    /// Unique.
    pub id: String,
    /// "chat.completion".
    pub object: &'static str,
    /// Seconds since 1970.
    pub created: u64,
    /// The model that answered.
    pub model: String,
    /// Changes with the server's version and the model's weights.
    pub system_fingerprint: String,
    /// The answers.
    pub choices: Vec<ChatChoice>,
    /// Token counts.
    pub usage: Usage,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ChatChoice {
    /// Which of `n`.
    pub index: u32,
    /// The answer.
    pub message: AssistantMessage,
    /// When asked for.
    pub logprobs: Option<ChatLogprobs>,
    /// Why it ended.
    pub finish_reason: FinishReason,
}

/// The assistant's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct AssistantMessage {
    /// "assistant".
    pub role: &'static str,
    /// The text; null when there are calls alone.
    pub content: Option<String>,
    /// The calls, if there are any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCallObject>,
}

/// A call of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ToolCallObject {
    /// What the call's result refers to.
    pub id: String,
    /// "function".
    pub r#type: &'static str,
    /// What is called.
    pub function: CalledFunction,
}

/// A called function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct CalledFunction {
    /// Its name.
    pub name: String,
    /// Its arguments, as the JSON text that the model wrote.
    pub arguments: String,
}

/// Log probabilities of an answer's tokens.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ChatLogprobs {
    /// One entry a token.
    pub content: Vec<TokenLogprob>,
}

/// A piece of a streamed answer.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ChatChunk {
    /// The same on all chunks of an answer.
    pub id: String,
    /// "chat.completion.chunk".
    pub object: &'static str,
    /// Seconds since 1970.
    pub created: u64,
    /// The model that answers.
    pub model: String,
    /// Changes with the server's version and the model's weights.
    pub system_fingerprint: String,
    /// What is new; empty on the chunk with the token counts.
    pub choices: Vec<ChunkChoice>,
    /// Token counts, on the last chunk when asked for.
    pub usage: Option<Usage>,
}

/// What is new of one answer.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ChunkChoice {
    /// Which of `n`.
    pub index: u32,
    /// The new text.
    pub delta: Delta,
    /// When asked for.
    pub logprobs: Option<ChatLogprobs>,
    /// Why it ended, on its last chunk.
    pub finish_reason: Option<FinishReason>,
}

/// A piece of the assistant's words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Delta {
    /// "assistant" on the first chunk, then "": some clients want the key on every chunk, and some
    /// join the values.
    pub role: &'static str,
    /// The new text; null where there is none.
    pub content: Option<String>,
    /// What is new of a call; null otherwise, as some clients want the key.
    pub tool_calls: Option<Vec<ToolCallDelta>>,
}

/// What is new of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ToolCallDelta {
    /// Which of the answer's calls.
    pub index: usize,
    /// What the call's result refers to; at its start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// "function", at its start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#type: Option<&'static str>,
    /// What is called.
    pub function: FunctionDelta,
}

/// What is new of a called function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FunctionDelta {
    /// Its name; at the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The new JSON text of its arguments.
    pub arguments: String,
}
