//! `/v1/messages` and `/v1/messages/count_tokens`: what is asked. What is answered is in
//! [`super::message_object`].

use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// A conversation and how to continue it.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub struct MessagesRequest {
    /// The served model's id or alias, "tgi", or nothing.
    pub model: Option<String>,
    /// Most tokens to generate.
    #[schema(minimum = 1)]
    pub max_tokens: u32,
    /// The conversation. A last message of the assistant is continued.
    #[schema(min_items = 1)]
    pub messages: Vec<MessageParam>,
    /// Text before the conversation.
    pub system: Option<TextOrBlocks>,
    /// Texts that end the answer; they are not part of it.
    pub stop_sequences: Option<Vec<String>>,
    /// From 0 to 1; 0 takes the most likely token. Default 1.
    #[schema(minimum = 0, maximum = 1)]
    pub temperature: Option<f32>,
    /// Above 0, at most 1; keeps the likeliest tokens of this mass. Default 1.
    #[schema(exclusive_minimum = 0, maximum = 1)]
    pub top_p: Option<f32>,
    /// Keeps the k most likely tokens; 0 keeps all. Default 0.
    pub top_k: Option<u32>,
    /// Whether to stream events. Default false.
    pub stream: Option<bool>,
    /// Functions that the model may use.
    pub tools: Option<Vec<ToolParam>>,
    /// Whether it may or has to. Default: it may.
    pub tool_choice: Option<ToolChoiceParam>,
    /// Accepted; has no effect.
    pub metadata: Option<MessageMetadata>,
    /// Form of the answer's text.
    pub output_config: Option<OutputConfig>,
    /// Accepted; has no effect: everything is cached.
    pub cache_control: Option<CacheControl>,
    /// Only `{"type": "disabled"}` or null.
    pub thinking: Option<Thinking>,
    /// Not supported; null or empty.
    pub mcp_servers: Option<Vec<Value>>,
    /// Not supported; null.
    pub container: Option<Value>,
    /// Not supported; null.
    pub context_management: Option<Value>,
}

/// A conversation whose tokens are to be counted.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub struct CountTokensRequest {
    /// The served model's id or alias, "tgi", or nothing.
    pub model: Option<String>,
    /// The conversation.
    #[schema(min_items = 1)]
    pub messages: Vec<MessageParam>,
    /// Text before the conversation.
    pub system: Option<TextOrBlocks>,
    /// Functions that the model may use.
    pub tools: Option<Vec<ToolParam>>,
    /// Whether it may or has to.
    pub tool_choice: Option<ToolChoiceParam>,
}

impl MessagesRequest {
    /// Takes out what the prompt is made of.
    pub fn take_prompt(&mut self) -> CountTokensRequest {
        CountTokensRequest {
            model: self.model.clone(),
            messages: std::mem::take(&mut self.messages),
            system: self.system.take(),
            tools: self.tools.take(),
            tool_choice: self.tool_choice.take(),
        }
    }
}

/// Who speaks on whose behalf.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
pub struct MessageMetadata {
    /// A name for the client's own user.
    pub user_id: Option<String>,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
pub struct MessageParam {
    /// "user" or "assistant".
    #[schema(pattern = "^(user|assistant)$")]
    pub role: String,
    /// What it says.
    pub content: MessageContent,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(
    untagged,
    expecting = "expected a string or a list of content blocks, each with its type"
)]
pub enum MessageContent {
    /// A text.
    Text(String),
    /// Texts, uses of tools and their results.
    Blocks(Vec<ContentBlock>),
}

/// A text, the use of a tool, or the result of one.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, ToSchema)]
pub struct ContentBlock {
    /// "text", "tool_use" or "tool_result".
    #[schema(pattern = "^(text|tool_use|tool_result)$")]
    pub r#type: String,
    /// Of a text: the text.
    pub text: Option<String>,
    /// Of a use: its id.
    pub id: Option<String>,
    /// Of a use: the tool.
    pub name: Option<String>,
    /// Of a use: its arguments.
    #[schema(value_type = Option<Object>)]
    pub input: Option<Map<String, Value>>,
    /// Of a result: id of the use.
    pub tool_use_id: Option<String>,
    /// Of a result: its text.
    pub content: Option<TextOrBlocks>,
    /// Accepted; has no effect: the text has to say what went wrong.
    pub is_error: Option<bool>,
    /// Accepted; has no effect: everything is cached.
    pub cache_control: Option<CacheControl>,
}

/// A text, whole or in blocks.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected a string or a list of text blocks")]
pub enum TextOrBlocks {
    /// The text.
    Text(String),
    /// Its blocks.
    Blocks(Vec<TextBlockParam>),
}

/// A block of text.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
pub struct TextBlockParam {
    /// Only "text".
    #[schema(pattern = "^text$")]
    pub r#type: String,
    /// The text.
    pub text: Option<String>,
    /// Accepted; has no effect: everything is cached.
    pub cache_control: Option<CacheControl>,
}

/// Where Anthropic would begin to cache.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
pub struct CacheControl {
    /// "ephemeral".
    pub r#type: Option<String>,
}

/// A function that the model may use.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
pub struct ToolParam {
    /// Only "custom" or null.
    #[schema(pattern = "^custom$")]
    pub r#type: Option<String>,
    /// Its name.
    #[schema(min_length = 1)]
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// JSON schema of its arguments.
    #[schema(value_type = Option<Object>)]
    pub input_schema: Option<Map<String, Value>>,
    /// Accepted; has no effect: everything is cached.
    pub cache_control: Option<CacheControl>,
}

/// Whether the model may use a tool, or has to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
pub struct ToolChoiceParam {
    /// "auto", "any", "tool" or "none".
    #[schema(pattern = "^(auto|any|tool|none)$")]
    pub r#type: String,
    /// Of "tool": which.
    pub name: Option<String>,
    /// Whether an answer has at most one use, where it has to have any. Default false.
    pub disable_parallel_tool_use: Option<bool>,
}

/// Form of the answer's text.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
pub struct OutputConfig {
    /// Default: plain text.
    pub format: Option<OutputFormat>,
    /// Not supported; null.
    pub effort: Option<String>,
}

/// JSON of a schema.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
pub struct OutputFormat {
    /// Only "json_schema".
    #[schema(pattern = "^json_schema$")]
    pub r#type: String,
    /// The JSON schema.
    #[schema(value_type = Option<Object>)]
    pub schema: Option<Map<String, Value>>,
}

/// Whether the model thinks aloud first.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
pub struct Thinking {
    /// Only "disabled".
    #[schema(pattern = "^disabled$")]
    pub r#type: String,
}
