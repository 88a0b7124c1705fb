//! `/v1/responses`: what is asked. What is answered is in [`super::response_object`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::described::{nothing, tool_choice};

/// A conversation, or the next turn of a stored one, and how to continue it.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub struct ResponsesRequest {
    /// The served model's id or alias, "tgi", or nothing.
    pub model: Option<String>,
    /// A text of the user, or items.
    #[schema(value_type = ResponseInput)]
    pub input: Option<ResponseInput>,
    /// A system message before all others; not taken over from the response before.
    pub instructions: Option<String>,
    /// A stored response that the input continues.
    pub previous_response_id: Option<String>,
    /// Whether the response is kept, to be fetched or continued. Default true.
    pub store: Option<bool>,
    /// Most tokens to generate. Default: what the context has room for.
    #[schema(minimum = 1)]
    pub max_output_tokens: Option<u32>,
    /// From 0 to 2; 0 takes the most likely token. Default 1.
    #[schema(minimum = 0, maximum = 2)]
    pub temperature: Option<f32>,
    /// Above 0, at most 1; keeps the likeliest tokens of this mass. Default 1.
    #[schema(exclusive_minimum = 0, maximum = 1)]
    pub top_p: Option<f32>,
    /// Whether to stream events. Default false.
    pub stream: Option<bool>,
    /// Form of the answer's text.
    pub text: Option<TextConfig>,
    /// Functions that the model may call.
    pub tools: Option<Vec<FunctionTool>>,
    /// "auto", "none", "required" or `{"type": "function", "name": ..}`. Default "auto".
    #[schema(schema_with = tool_choice, required = false)]
    pub tool_choice: Option<Value>,
    /// Whether one answer may hold several calls. Default true.
    pub parallel_tool_calls: Option<bool>,
    /// Returned as it is.
    pub metadata: Option<BTreeMap<String, String>>,
    /// Returned as it is.
    pub user: Option<String>,
    /// Not supported; false or null.
    pub background: Option<bool>,
    /// Only "disabled" or null: a conversation that does not fit is refused.
    #[schema(pattern = "^disabled$")]
    pub truncation: Option<String>,
    /// What the response tells beside the answer: "message.output_text.logprobs" or nothing.
    pub include: Option<Vec<String>>,
    /// Most likely tokens to report at each position; needs `include`. Default 0.
    pub top_logprobs: Option<u32>,
    /// Not supported; null or empty.
    #[schema(schema_with = nothing, required = false)]
    pub reasoning: Option<Value>,
    /// Not supported; null.
    #[schema(schema_with = nothing, required = false)]
    pub prompt: Option<Value>,
    /// Not supported; null. `previous_response_id` continues a conversation.
    #[schema(schema_with = nothing, required = false)]
    pub conversation: Option<Value>,
}

/// The one thing to include.
pub const LOGPROBS: &str = "message.output_text.logprobs";

impl ResponsesRequest {
    /// Whether log probabilities are asked for.
    #[must_use]
    pub fn includes_logprobs(&self) -> bool {
        self.include.iter().flatten().any(|what| what == LOGPROBS)
    }
}

/// What is new in the conversation.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected a string or a list of items")]
pub enum ResponseInput {
    /// A text of the user.
    Text(String),
    /// Messages, calls and their results.
    Items(Vec<InputItem>),
}

/// A message, a call of a function, or the result of one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
pub struct InputItem {
    /// "message" (the default), "function_call" or "function_call_output".
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^(message|function_call|function_call_output)$")]
    pub r#type: Option<String>,
    /// Of a message: "user", "assistant", "system" or "developer".
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^(user|assistant|system|developer)$")]
    pub role: Option<String>,
    /// Of a message: its text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<InputContent>,
    /// Of a call and of its result: the call's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    /// Of a call: the function.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Of a call: its arguments, as JSON text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<String>,
    /// Of a result: its text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<InputContent>,
}

/// Text, whole or in parts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(untagged, expecting = "expected a string or a list of content parts")]
pub enum InputContent {
    /// The text.
    Text(String),
    /// Parts that follow one another.
    Parts(Vec<InputPart>),
}

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
pub struct InputPart {
    /// "input_text" or "output_text".
    #[schema(pattern = "^(input_text|output_text|text)$")]
    pub r#type: String,
    /// The text.
    pub text: Option<String>,
}

/// Form of the answer's text.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, ToSchema)]
pub struct TextConfig {
    /// Default: plain text.
    pub format: Option<TextFormat>,
    /// Not supported; null or "medium".
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^medium$")]
    pub verbosity: Option<String>,
}

/// Plain text, any JSON object, or JSON of a schema.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, ToSchema)]
pub struct TextFormat {
    /// "text", "json_object" or "json_schema".
    #[schema(pattern = "^(text|json_object|json_schema)$")]
    pub r#type: String,
    /// Of a schema: its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Of a schema: what it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The JSON schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub schema: Option<Map<String, Value>>,
    /// Answers always keep to the schema, whatever this says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

impl TextFormat {
    /// Plain text.
    #[must_use]
    pub fn plain() -> Self {
        Self {
            r#type: "text".to_owned(),
            name: None,
            description: None,
            schema: None,
            strict: None,
        }
    }
}

/// A function that the model may call.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, ToSchema)]
pub struct FunctionTool {
    /// Only "function".
    #[schema(pattern = "^function$")]
    pub r#type: String,
    /// Its name.
    pub name: Option<String>,
    /// What it does.
    pub description: Option<String>,
    /// JSON schema of its arguments; null takes none.
    #[schema(value_type = Option<Object>)]
    pub parameters: Option<Map<String, Value>>,
    /// Arguments of forced calls always keep to the schema, whatever this says.
    pub strict: Option<bool>,
}
