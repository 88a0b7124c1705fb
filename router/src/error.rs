//! Everything that can go wrong with a request, and what the client is told.
//!
//! An error becomes a response in TGI's form. It travels along as an extension of the response, so
//! that [`shape_errors`] can say it in the [`Form`] of the route and count it.

use std::borrow::Cow;
use std::time::Duration;

use axum::Json;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Method, StatusCode, header};

use crate::api::template::TemplateError;
use crate::api::tokenizer::TokenizeError;
use crate::exchange;
use crate::metrics;

mod form;

pub use form::Form;

/// Why a request was refused or failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ApiError {
    /// The request breaks a rule.
    #[error("{message}")]
    Invalid {
        /// The field at fault.
        param: Option<Cow<'static, str>>,
        /// The rule, the value and the limit.
        message: String,
    },
    /// The body is no JSON, or could not be read.
    #[error("{0}")]
    BadJson(String),
    /// The body did not arrive in time.
    #[error("the body did not arrive within {} s", .0.as_secs())]
    BodyTimeout(Duration),
    /// The body is too large.
    #[error("the body is larger than the server's payload limit; send a shorter one")]
    PayloadTooLarge,
    /// The body is not declared as JSON.
    #[error("the content type must be application/json")]
    UnsupportedMediaType,
    /// There is no such route.
    #[error("there is no such route; see /docs")]
    NotFound,
    /// The route is a known one for something that is not served.
    #[error("{0} are not served: the models here generate text")]
    NotServed(&'static str),
    /// The route does not have this method.
    #[error("this route does not take this method; see /docs")]
    MethodNotAllowed,
    /// The key is absent or wrong.
    #[error(
        "a valid key is needed: send it as \"authorization: Bearer KEY\" or \"x-api-key: KEY\""
    )]
    Unauthorized(Challenge),
    /// Another model is served.
    #[error("model {0:?} is not served here; see /v1/models")]
    ModelNotFound(String),
    /// No such response is stored.
    #[error(
        "no response {0:?} is stored: it was not to be, was deleted, or made room for newer ones; \
         send the whole conversation as input"
    )]
    ResponseNotFound(String),
    /// No adapter of this name is loaded.
    #[error("adapter {0:?} is not served here; leave adapter_id out")]
    AdapterNotFound(String),
    /// The chat template refused the messages, or there is none.
    #[error("{0}")]
    TemplateError(String),
    /// A bound on work is reached.
    #[error("{limit}; try again in {} s", .retry_after.as_secs())]
    Overloaded {
        /// The bound.
        limit: Limit,
        /// When the work that waits now should be done.
        retry_after: Duration,
    },
    /// No shard can take the request now.
    #[error("{reason}; try again in {} s", .retry_after.as_secs())]
    Unavailable {
        /// Why.
        reason: String,
        /// When one should.
        retry_after: Duration,
    },
    /// The shard failed the request.
    #[error(transparent)]
    Shard(#[from] ShardError),
    /// The request took longer than it may.
    #[error("the request took longer than {} s; ask for fewer tokens", .0.as_secs())]
    Timeout(Duration),
    /// The client left its stream unread for too long.
    #[error("the client left its stream unread for {} s", .0.as_secs())]
    SlowReader(Duration),
    /// The answer ended without its end.
    #[error("the generation ended early")]
    IncompleteGeneration,
    /// A fault of the server itself.
    #[error("{0}")]
    Internal(String),
}

/// What a client without a key is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Challenge {
    /// A bearer token.
    Bearer,
    /// A password, for which browsers ask their user.
    Password,
}

/// The bounds on work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Limit {
    /// Requests in the server.
    #[error("the server holds {0} requests, which is its limit")]
    Requests(usize),
    /// Prompt tokens in the queue.
    #[error("too many prompt tokens are waiting, the limit is {0}")]
    QueuedTokens(usize),
    /// Time in the queue.
    #[error("the request waited {} s in the queue, which is the limit", .0.as_secs())]
    QueueTime(Duration),
    /// Body bytes being read.
    #[error("too many request bodies are being read, the limit is {0} bytes together")]
    BodyBytes(usize),
}

impl Limit {
    /// Its name in the metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Requests(_) => "requests",
            Self::QueuedTokens(_) => "queued_tokens",
            Self::QueueTime(_) => "queue_time",
            Self::BodyBytes(_) => "body_bytes",
        }
    }
}

/// A failure that the shard reported, or that cost the shard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ShardError {
    /// What kind of failure.
    pub code: ShardErrorCode,
    /// What happened, for the client.
    pub message: String,
    /// Whether the same request may succeed on another try.
    pub retryable: bool,
}

/// Kinds of [`ShardError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShardErrorCode {
    /// The shard was lost.
    Unavailable,
    /// The shard broke the wire contract.
    Protocol,
    /// The shard found that the request breaks the wire contract.
    Invalid,
    /// The step that computed the request failed.
    EngineFailed,
}

impl ShardErrorCode {
    /// Its name in OpenAI's error body.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Protocol => "protocol",
            Self::Invalid => "invalid",
            Self::EngineFailed => "engine_failed",
        }
    }
}

impl Challenge {
    fn header(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Bearer => "Bearer",
            // Alone: browsers read one challenge a line.
            Self::Password => "Basic realm=\"text generation: the key is the password\"",
        })
    }
}

impl ApiError {
    /// A broken rule about a field.
    #[must_use]
    pub fn invalid(param: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::Invalid {
            param: Some(param.into()),
            message: message.into(),
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.table().0
    }

    /// TGI's `error_type`.
    #[must_use]
    pub fn error_type(&self) -> &'static str {
        self.table().1
    }

    fn table(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Invalid { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "validation"),
            Self::BadJson(_) => (StatusCode::BAD_REQUEST, "bad_request"),
            Self::BodyTimeout(_) => (StatusCode::REQUEST_TIMEOUT, "body_timeout"),
            Self::PayloadTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large"),
            Self::UnsupportedMediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type")
            }
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            Self::NotServed(_) => (StatusCode::NOT_FOUND, "not_served"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::Unauthorized(_) => (StatusCode::UNAUTHORIZED, "unauthorized"),
            Self::ModelNotFound(_) => (StatusCode::NOT_FOUND, "model_not_found"),
            Self::AdapterNotFound(_) => (StatusCode::NOT_FOUND, "adapter_not_found"),
            Self::ResponseNotFound(_) => (StatusCode::NOT_FOUND, "response_not_found"),
            Self::TemplateError(_) => (StatusCode::UNPROCESSABLE_ENTITY, "template_error"),
            Self::Overloaded { .. } => (StatusCode::TOO_MANY_REQUESTS, "overloaded"),
            Self::Unavailable { .. } => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            Self::Shard(_) => (StatusCode::FAILED_DEPENDENCY, "generation"),
            Self::Timeout(_) => (StatusCode::GATEWAY_TIMEOUT, "timeout"),
            Self::SlowReader(_) => (StatusCode::REQUEST_TIMEOUT, "slow_reader"),
            Self::IncompleteGeneration => {
                (StatusCode::INTERNAL_SERVER_ERROR, "incomplete_generation")
            }
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status(), Json(Form::Native.body(&self))).into_response();
        let headers = response.headers_mut();
        match &self {
            Self::Overloaded { retry_after, .. } | Self::Unavailable { retry_after, .. } => {
                headers.insert(header::RETRY_AFTER, retry_after.as_secs().into());
            }
            Self::Unauthorized(challenge) => {
                headers.insert(header::WWW_AUTHENTICATE, challenge.header());
            }
            _ => {}
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// Middleware around all routes: says errors in the form of the route, and counts what was asked and
/// refused. Failures of requests that a shard had taken are counted where they end.
pub async fn shape_errors(request: Request, next: Next) -> Response {
    let form = Form::of(request.uri().path());
    let is_work = request.method() == Method::POST;
    if is_work {
        metrics::request_received();
    }
    let mut response = next.run(request).await;
    let Some(error) = response.extensions_mut().remove::<ApiError>() else {
        return response;
    };
    if let Some(exchange) = exchange::current() {
        exchange.failed(&error);
    }
    if is_work && !error.ends_generation() {
        metrics::request_failed(&error);
    }
    if form == Form::Native {
        return response;
    }
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    (form.status(&error), parts.headers, Json(form.body(&error))).into_response()
}

impl ApiError {
    /// Whether the server is at fault; its message then holds nothing that a client sent.
    pub(crate) fn is_the_servers(&self) -> bool {
        matches!(
            self,
            Self::Shard(_) | Self::Internal(_) | Self::IncompleteGeneration
        )
    }

    /// Whether it ends a generation, rather than preventing one.
    fn ends_generation(&self) -> bool {
        matches!(
            self,
            Self::Shard(_)
                | Self::Timeout(_)
                | Self::SlowReader(_)
                | Self::IncompleteGeneration
                | Self::Overloaded {
                    limit: Limit::QueueTime(_),
                    ..
                }
        )
    }
}

impl From<TokenizeError> for ApiError {
    fn from(error: TokenizeError) -> Self {
        match error {
            TokenizeError::BadFile(_) => Self::Internal(error.to_string()),
            TokenizeError::Refused(_) | TokenizeError::TooSlow(_) => Self::Invalid {
                param: None,
                message: error.to_string(),
            },
            TokenizeError::Busy { retry_after } => Self::Unavailable {
                reason: error.to_string(),
                retry_after,
            },
        }
    }
}

impl From<TemplateError> for ApiError {
    fn from(error: TemplateError) -> Self {
        Self::TemplateError(error.to_string())
    }
}

#[cfg(test)]
mod tests;
