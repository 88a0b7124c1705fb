//! `/v1/messages`: what is answered, whole and as events.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// The assistant's message.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct MessageObject {
    /// Unique.
    pub id: String,
    /// "message".
    pub r#type: &'static str,
    /// "assistant".
    pub role: &'static str,
    /// The model that answered.
    pub model: String,
    /// Texts and uses of tools. A use that was cut off is left out.
    pub content: Vec<Block>,
    /// Why it ended; null at the start of a stream.
    pub stop_reason: Option<StopReason>,
    /// The stop sequence that ended it.
    pub stop_sequence: Option<String>,
    /// Token counts.
    pub usage: MessageUsage,
}

/// A block of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Block {
    /// Words to the user.
    Text {
        /// The text.
        text: String,
    },
    /// The use of a tool.
    ToolUse {
        /// What its result refers to.
        id: String,
        /// The tool.
        name: String,
        /// Its arguments; empty at the start of a stream's block.
        #[schema(value_type = Object)]
        input: Map<String, Value>,
    },
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The model was done.
    EndTurn,
    /// The request's length limit.
    MaxTokens,
    /// The context's end, before the request's length limit.
    ModelContextWindowExceeded,
    /// A stop sequence.
    StopSequence,
    /// Tools are to be used.
    ToolUse,
}

/// Token counts. The prompt has `input_tokens` and `cache_read_input_tokens` together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct MessageUsage {
    /// Tokens of the prompt that had to be computed. At the start of a stream, when that is not
    /// known yet, all of the prompt's.
    pub input_tokens: u32,
    /// Tokens of the answer.
    pub output_tokens: u32,
    /// Tokens of the prompt that the cache spared; null at the start of a stream.
    pub cache_read_input_tokens: Option<u32>,
    /// 0: everything is cached, and nothing is charged for it.
    pub cache_creation_input_tokens: u32,
}

/// Tokens of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct TokenCount {
    /// Tokens of the prompt, cached or not.
    pub input_tokens: usize,
}

/// One event of a stream.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum MessageEvent {
    /// The request was taken.
    MessageStart {
        /// The message, still empty.
        message: Box<MessageObject>,
    },
    /// Shows that the stream lives.
    Ping {},
    /// A block begins.
    ContentBlockStart {
        /// Which of the message.
        index: usize,
        /// The block, still empty.
        content_block: Block,
    },
    /// More of a block.
    ContentBlockDelta {
        /// Which of the message.
        index: usize,
        /// What is new.
        delta: BlockDelta,
    },
    /// A block has ended.
    ContentBlockStop {
        /// Which of the message.
        index: usize,
    },
    /// The message has ended.
    MessageDelta {
        /// Why.
        delta: MessageEnd,
        /// Token counts of the whole message.
        usage: MessageUsage,
    },
    /// Nothing follows.
    MessageStop {},
}

/// What is new of a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum BlockDelta {
    /// Of a text.
    TextDelta {
        /// The new text.
        text: String,
    },
    /// Of a tool's arguments.
    InputJsonDelta {
        /// The new JSON text.
        partial_json: String,
    },
}

/// Why a message ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct MessageEnd {
    /// The reason.
    pub stop_reason: StopReason,
    /// The stop sequence that ended it.
    pub stop_sequence: Option<String>,
}
