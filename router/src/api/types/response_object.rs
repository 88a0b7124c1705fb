//! `/v1/responses`: what is answered, whole and as events.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::openai::TokenLogprob;
use super::responses::{FunctionTool, TextConfig};

/// A response.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ResponseObject {
    /// Unique.
    pub id: String,
    /// "response".
    pub object: &'static str,
    /// Seconds since 1970.
    pub created_at: u64,
    /// Seconds since 1970; null unless it is complete.
    pub completed_at: Option<u64>,
    /// How far it is.
    pub status: ResponseStatus,
    /// Why it failed.
    pub error: Option<ResponseError>,
    /// Why it is incomplete.
    pub incomplete_details: Option<IncompleteDetails>,
    /// As asked.
    pub instructions: Option<String>,
    /// As asked.
    pub max_output_tokens: Option<u32>,
    /// As asked.
    pub metadata: BTreeMap<String, String>,
    /// The model that answered.
    pub model: String,
    /// The assistant's message and calls.
    pub output: Vec<OutputItem>,
    /// As asked.
    pub parallel_tool_calls: bool,
    /// As asked.
    pub previous_response_id: Option<String>,
    /// Whether it is kept.
    pub store: bool,
    /// As asked.
    pub temperature: f32,
    /// As asked.
    pub text: TextConfig,
    /// As asked.
    pub tool_choice: Value,
    /// As asked.
    pub tools: Vec<FunctionTool>,
    /// As asked.
    pub top_logprobs: u32,
    /// As asked.
    pub top_p: f32,
    /// "disabled".
    pub truncation: &'static str,
    /// False.
    pub background: bool,
    /// As asked.
    pub user: Option<String>,
    /// Token counts, once it has ended.
    pub usage: Option<ResponseUsage>,
}

/// How far a response is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResponseStatus {
    /// Being generated.
    InProgress,
    /// Ended by itself.
    Completed,
    /// Cut off.
    Incomplete,
    /// Ended by an error.
    Failed,
}

/// Why a response failed.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ResponseError {
    /// "server_error" or "rate_limit_exceeded".
    pub code: &'static str,
    /// What happened.
    pub message: String,
}

/// Why a response is incomplete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct IncompleteDetails {
    /// "max_output_tokens".
    pub reason: &'static str,
}

/// What the assistant said or wants to be called.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum OutputItem {
    /// Words to the user.
    Message {
        /// Unique.
        id: String,
        /// How far it is.
        status: ResponseStatus,
        /// "assistant".
        role: &'static str,
        /// The text, in one part.
        content: Vec<OutputText>,
    },
    /// A call of a function.
    FunctionCall {
        /// Unique.
        id: String,
        /// What the call's result refers to.
        call_id: String,
        /// The function.
        name: String,
        /// The arguments, as JSON text.
        arguments: String,
        /// How far it is.
        status: ResponseStatus,
    },
}

/// A text of the assistant.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct OutputText {
    /// "output_text".
    pub r#type: &'static str,
    /// The text.
    pub text: String,
    /// Empty.
    #[schema(value_type = Vec<Object>)]
    pub annotations: [Value; 0],
    /// Of all its tokens, when asked for.
    pub logprobs: Vec<TokenLogprob>,
}

impl Default for OutputText {
    fn default() -> Self {
        Self {
            r#type: "output_text",
            text: String::new(),
            annotations: [],
            logprobs: vec![],
        }
    }
}

/// Token counts of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct ResponseUsage {
    /// Tokens of the prompt.
    pub input_tokens: u32,
    /// What the cache spared.
    pub input_tokens_details: InputTokensDetails,
    /// Tokens of the answer.
    pub output_tokens: u32,
    /// Kinds of them.
    pub output_tokens_details: OutputTokensDetails,
    /// Both together.
    pub total_tokens: u32,
}

/// Prompt tokens by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct InputTokensDetails {
    /// Tokens that did not have to be computed.
    pub cached_tokens: u32,
    /// 0: everything is cached, and nothing is charged for it.
    pub cache_write_tokens: u32,
}

/// Answer tokens by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct OutputTokensDetails {
    /// 0.
    pub reasoning_tokens: u32,
}

/// A response that was deleted.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct DeletedResponse {
    /// Its id.
    pub id: String,
    /// "response".
    pub object: &'static str,
    /// True.
    pub deleted: bool,
}

/// One event of a stream.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ResponseEvent {
    /// Number of the event, from 0.
    pub sequence_number: u64,
    /// What happened.
    #[serde(flatten)]
    pub body: EventBody,
}

/// What happened in a stream.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(tag = "type")]
pub enum EventBody {
    /// The request was taken.
    #[serde(rename = "response.created")]
    Created {
        /// As it is now.
        response: Box<ResponseObject>,
    },
    /// It is being worked on.
    #[serde(rename = "response.in_progress")]
    InProgress {
        /// As it is now.
        response: Box<ResponseObject>,
    },
    /// A message or a call begins.
    #[serde(rename = "response.output_item.added")]
    ItemAdded {
        /// Which of the output.
        output_index: usize,
        /// As it is now.
        item: OutputItem,
    },
    /// A message's text begins.
    #[serde(rename = "response.content_part.added")]
    PartAdded {
        /// The message.
        item_id: String,
        /// Which of the output.
        output_index: usize,
        /// Which of its parts: 0.
        content_index: usize,
        /// As it is now.
        part: OutputText,
    },
    /// More text.
    #[serde(rename = "response.output_text.delta")]
    TextDelta {
        /// The message.
        item_id: String,
        /// Which of the output.
        output_index: usize,
        /// Which of its parts: 0.
        content_index: usize,
        /// The new text.
        delta: String,
        /// Of the tokens that the new text completed, when asked for.
        logprobs: Vec<TokenLogprob>,
    },
    /// The text is whole.
    #[serde(rename = "response.output_text.done")]
    TextDone {
        /// The message.
        item_id: String,
        /// Which of the output.
        output_index: usize,
        /// Which of its parts: 0.
        content_index: usize,
        /// All of it.
        text: String,
        /// Of all its tokens, when asked for.
        logprobs: Vec<TokenLogprob>,
    },
    /// A message's text has ended.
    #[serde(rename = "response.content_part.done")]
    PartDone {
        /// The message.
        item_id: String,
        /// Which of the output.
        output_index: usize,
        /// Which of its parts: 0.
        content_index: usize,
        /// All of it.
        part: OutputText,
    },
    /// More of a call's arguments.
    #[serde(rename = "response.function_call_arguments.delta")]
    ArgumentsDelta {
        /// The call.
        item_id: String,
        /// Which of the output.
        output_index: usize,
        /// The new JSON text.
        delta: String,
    },
    /// A call's arguments are whole.
    #[serde(rename = "response.function_call_arguments.done")]
    ArgumentsDone {
        /// The call.
        item_id: String,
        /// Which of the output.
        output_index: usize,
        /// The function.
        name: String,
        /// All of them.
        arguments: String,
    },
    /// A message or a call has ended.
    #[serde(rename = "response.output_item.done")]
    ItemDone {
        /// Which of the output.
        output_index: usize,
        /// All of it.
        item: OutputItem,
    },
    /// The response ended by itself; nothing follows.
    #[serde(rename = "response.completed")]
    Completed {
        /// All of it.
        response: Box<ResponseObject>,
    },
    /// The response was cut off; nothing follows.
    #[serde(rename = "response.incomplete")]
    Incomplete {
        /// All of it.
        response: Box<ResponseObject>,
    },
    /// The response failed; nothing follows.
    #[serde(rename = "response.failed")]
    Failed {
        /// What there is of it.
        response: Box<ResponseObject>,
    },
}
