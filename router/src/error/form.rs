//! How an error is said: status and body, by the family of the route.

use http::StatusCode;
use serde_json::Value;

use super::ApiError;
use crate::api::types::error::{
    AnthropicError, AnthropicErrorBody, NativeError, OpenAiError, OpenAiErrorBody,
};

/// A family of routes and its way to say errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// TGI's.
    Native,
    /// OpenAI's.
    OpenAi,
    /// Anthropic's.
    Anthropic,
}

impl Form {
    /// The form of a route.
    #[must_use]
    pub fn of(path: &str) -> Self {
        match path.strip_prefix("/v1/") {
            None => Self::Native,
            Some("messages") => Self::Anthropic,
            Some(path) if path.starts_with("messages/") => Self::Anthropic,
            Some(_) => Self::OpenAi,
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(self, error: &ApiError) -> StatusCode {
        self.translate(error.status())
    }

    /// How the family says a status of the native routes.
    #[must_use]
    pub fn translate(self, status: StatusCode) -> StatusCode {
        match self {
            Self::Native => status,
            Self::OpenAi | Self::Anthropic => of_v1(status),
        }
    }

    /// The body.
    #[must_use]
    pub fn body(self, error: &ApiError) -> Value {
        match self {
            Self::Native => serde_json::to_value(native_error(error)),
            Self::OpenAi => serde_json::to_value(openai_error(error)),
            Self::Anthropic => serde_json::to_value(anthropic_error(error)),
        }
        .expect("errors serialize to JSON")
    }
}

fn native_error(error: &ApiError) -> NativeError {
    NativeError {
        error: error.to_string(),
        error_type: error.error_type(),
    }
}

fn anthropic_error(error: &ApiError) -> AnthropicError {
    AnthropicError {
        r#type: "error",
        error: AnthropicErrorBody {
            r#type: anthropic_type(error),
            message: error.to_string(),
        },
    }
}

fn openai_error(error: &ApiError) -> OpenAiError {
    let kind = match of_v1(error.status()) {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        status if status.is_client_error() => "invalid_request_error",
        _ => "server_error",
    };
    let param = match error {
        ApiError::Invalid { param, .. } => param.as_deref(),
        _ => None,
    };
    let code = match error {
        ApiError::Shard(error) => error.code.name(),
        _ => error.error_type(),
    };
    OpenAiError {
        error: OpenAiErrorBody {
            message: error.to_string(),
            r#type: kind,
            param: param.map(str::to_owned),
            code,
        },
    }
}

/// Where `/v1` says otherwise than TGI: a broken rule is a bad request, and what the shard failed with
/// is the server's fault, so that clients try again.
fn of_v1(status: StatusCode) -> StatusCode {
    match status {
        StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
        StatusCode::FAILED_DEPENDENCY => StatusCode::INTERNAL_SERVER_ERROR,
        status => status,
    }
}

/// Anthropic's type of an error.
fn anthropic_type(error: &ApiError) -> &'static str {
    match of_v1(error.status()) {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::NOT_FOUND => "not_found_error",
        StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => "timeout_error",
        StatusCode::SERVICE_UNAVAILABLE => "overloaded_error",
        status if status.is_client_error() => "invalid_request_error",
        _ => "api_error",
    }
}
