//! The response headers that say what an answer took.

use axum::response::AppendHeaders;
use http::{HeaderName, HeaderValue};
use std::time::Duration;
use tokio::time::Instant;

use crate::api::answer::Completed;
use crate::exchange;
use crate::metrics;

/// Headers of one kind of response.
pub type Headers = AppendHeaders<Vec<(HeaderName, HeaderValue)>>;

/// When a request came in and when it was handed to the queue.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    validated: Instant,
    characters: usize,
}

impl Clock {
    /// Starts at the arrival of a request.
    #[must_use]
    pub fn start() -> Self {
        let now = Instant::now();
        Self {
            started: now,
            validated: now,
            characters: 0,
        }
    }

    /// Notes that the request, a prompt of so many characters, is valid and about to be queued.
    #[must_use]
    pub fn validated(self, characters: usize) -> Self {
        let now = Instant::now();
        metrics::request_validated(now - self.started);
        if let Some(exchange) = exchange::current() {
            exchange.prepared(self.started, now);
        }
        Self {
            validated: now,
            characters,
            ..self
        }
    }

    /// Headers of a stream, which begins before anything is computed.
    pub fn stream_headers(&self, device: &str) -> Headers {
        AppendHeaders(vec![
            text("x-compute-type", device),
            number("x-compute-characters", self.characters as u128),
        ])
    }

    /// Headers of whole answers: times of the slowest, tokens of all.
    pub fn headers(&self, device: &str, answers: &[Completed]) -> Headers {
        let total = self.started.elapsed();
        let receipts = || answers.iter().map(|answer| answer.outcome.receipt);
        let queue = receipts()
            .map(|receipt| receipt.queue)
            .max()
            .unwrap_or_default();
        let inference = receipts()
            .map(|receipt| receipt.prefill + receipt.decode)
            .max();
        let inference = inference.unwrap_or_default();
        let tokens = |count: fn(&Completed) -> u32| answers.iter().map(count).sum::<u32>();
        let prompt = tokens(|answer| answer.outcome.prompt_tokens);
        let generated = tokens(|answer| answer.outcome.generated_tokens);
        let AppendHeaders(mut headers) = self.stream_headers(device);
        headers.extend([
            text("x-compute-time", &total.as_secs_f64().to_string()),
            millis("x-total-time", total),
            millis("x-validation-time", self.validated - self.started),
            millis("x-queue-time", queue),
            millis("x-inference-time", inference),
            millis("x-time-per-token", inference / generated.max(1)),
            number("x-prompt-tokens", u128::from(prompt)),
            number("x-generated-tokens", u128::from(generated)),
        ]);
        AppendHeaders(headers)
    }
}

fn millis(name: &'static str, duration: Duration) -> (HeaderName, HeaderValue) {
    number(name, duration.as_millis())
}

fn number(name: &'static str, value: u128) -> (HeaderName, HeaderValue) {
    text(name, &value.to_string())
}

fn text(name: &'static str, value: &str) -> (HeaderName, HeaderValue) {
    let value = HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static("unknown"));
    (HeaderName::from_static(name), value)
}
