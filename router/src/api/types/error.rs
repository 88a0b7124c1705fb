//! Errors as each family of routes says them.

use serde::Serialize;
use utoipa::ToSchema;

/// An error of a native route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct NativeError {
    /// What was wrong, the value, the limit and what to do.
    pub error: String,
    /// Its kind, such as "validation".
    pub error_type: &'static str,
}

/// An error of OpenAI's routes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct OpenAiError {
    /// The error.
    pub error: OpenAiErrorBody,
}

/// What is wrong, as OpenAI's clients read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct OpenAiErrorBody {
    /// What was wrong, the value, the limit and what to do.
    pub message: String,
    /// Its kind, such as "invalid_request_error".
    pub r#type: &'static str,
    /// The field at fault.
    pub param: Option<String>,
    /// A finer kind, such as "model_not_found".
    pub code: &'static str,
}

/// An error of Anthropic's routes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct AnthropicError {
    /// "error".
    pub r#type: &'static str,
    /// The error.
    pub error: AnthropicErrorBody,
}

/// What is wrong, as Anthropic's clients read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct AnthropicErrorBody {
    /// Its kind, such as "invalid_request_error".
    pub r#type: &'static str,
    /// What was wrong, the value, the limit and what to do.
    pub message: String,
}
