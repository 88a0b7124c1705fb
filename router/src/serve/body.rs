//! Request bodies: received whole, within their bounds, before any handler runs.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::BytesMut;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

use crate::config::HttpLimits;
use crate::error::{ApiError, Limit};
use crate::rate::Rate;

/// How long a body may take before its rate counts.
const RATE_GRACE: Duration = Duration::from_secs(5);

/// Unit of the bound on bytes in flight.
const BLOCK: usize = 1024;

/// The bounds, and the bytes that are free.
#[derive(Debug, Clone)]
pub(crate) struct Bodies {
    payload_limit: usize,
    bytes_in_flight: usize,
    body_timeout: Duration,
    /// Bytes a second.
    least_rate: usize,
    free_blocks: Arc<Semaphore>,
    /// Bytes received of one body.
    rate: Arc<Rate>,
}

impl Bodies {
    pub(crate) fn new(limits: &HttpLimits) -> Self {
        // One body always has room.
        let bytes_in_flight = limits.max_body_bytes_in_flight.max(limits.payload_limit);
        let blocks = bytes_in_flight.div_ceil(BLOCK).min(Semaphore::MAX_PERMITS);
        Self {
            payload_limit: limits.payload_limit,
            bytes_in_flight,
            body_timeout: Duration::from_secs(limits.body_timeout),
            least_rate: limits.min_body_rate,
            free_blocks: Arc::new(Semaphore::new(blocks)),
            rate: Arc::default(),
        }
    }

    /// Room for a body until it is received, or a refusal at once.
    fn reserve(&self, body: &Body) -> Result<SemaphorePermit<'_>, ApiError> {
        let hint = body.size_hint();
        let limit = self.payload_limit as u64;
        if hint.lower() > limit {
            return Err(ApiError::PayloadTooLarge);
        }
        let bytes = usize::try_from(hint.upper().unwrap_or(limit).min(limit)).unwrap_or(usize::MAX);
        let blocks = u32::try_from(bytes.div_ceil(BLOCK)).unwrap_or(u32::MAX);
        self.free_blocks
            .try_acquire_many(blocks)
            .map_err(|_| ApiError::Overloaded {
                limit: Limit::BodyBytes(self.bytes_in_flight),
                retry_after: self.rate.retry_after(bytes),
            })
    }

    /// The whole body.
    async fn receive(&self, body: Body) -> Result<Bytes, ApiError> {
        let mut body = Limited::new(body, self.payload_limit);
        let mut whole = BytesMut::new();
        let started = Instant::now();
        loop {
            let wait = self.patience(whole.len());
            let frame = match timeout_at(started + wait, body.frame()).await {
                Err(_) if wait < self.body_timeout => {
                    return Err(ApiError::BodyTooSlow(self.least_rate));
                }
                Err(_) => return Err(ApiError::BodyTimeout(self.body_timeout)),
                Ok(None) => return Ok(whole.freeze()),
                Ok(Some(frame)) => frame,
            };
            match frame {
                // Trailers are nothing to us.
                Ok(frame) => whole.extend(frame.into_data()),
                Err(error) if error.is::<LengthLimitError>() => {
                    return Err(ApiError::PayloadTooLarge);
                }
                Err(error) => {
                    let message = format!("the body could not be read: {error}");
                    return Err(ApiError::BadJson(message));
                }
            }
        }
    }

    /// How long after its start a body of which this much came may still be waited for.
    fn patience(&self, received: usize) -> Duration {
        let Some(rate) = NonZeroUsize::new(self.least_rate) else {
            return self.body_timeout;
        };
        let earned = Duration::from_secs_f64(received as f64 / rate.get() as f64);
        (RATE_GRACE + earned).min(self.body_timeout)
    }
}

/// Middleware that puts the whole body in the place of the one that is still coming.
///
/// # Errors
/// When the body is too large, too slow, broken, or one too many.
pub(crate) async fn receive_body(
    State(bodies): State<Bodies>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let whole = {
        let _room = bodies.reserve(&body)?;
        bodies.receive(body).await?
    };
    Ok(next
        .run(Request::from_parts(parts, Body::from(whole)))
        .await)
}

#[cfg(test)]
mod tests;
