//! How an error is said: status and body, by the family of the route.

use http::StatusCode;
use serde_json::{Value, json};

use super::ApiError;

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
        match self {
            Self::Native => error.status(),
            Self::OpenAi | Self::Anthropic => of_v1(error.status()),
        }
    }

    /// The body.
    #[must_use]
    pub fn body(self, error: &ApiError) -> Value {
        let message = error.to_string();
        match self {
            Self::Native => json!({"error": message, "error_type": error.error_type()}),
            Self::OpenAi => openai_body(error, &message),
            Self::Anthropic => json!({
                "type": "error", "error": {"type": anthropic_type(error), "message": message},
            }),
        }
    }
}

fn openai_body(error: &ApiError, message: &str) -> Value {
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
    json!({"error": {"message": message, "type": kind, "param": param, "code": code}})
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
