//! What the `/v1` routes share.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::response::sse::Event;
use serde_json::json;
use uuid::Uuid;

use crate::api::answer::{Completed, Outcome, TextToken, TopToken};
use crate::api::sse;
use crate::api::types::openai::{FinishReason, PrefillProgress, TokenLogprob, TopLogprob, Usage};
use crate::error::{ApiError, Form};
use crate::generation::{self, Progress};
use crate::model::Model;

/// Characters of the weights' fingerprint that `system_fingerprint` shows.
const FINGERPRINT_CHARS: usize = 12;

/// What every object of one response says.
#[derive(Debug, Clone)]
pub struct Envelope {
    /// Unique id of the response.
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
    /// The served model.
    pub model: String,
    /// Version of the server and of the weights.
    pub system_fingerprint: String,
}

impl Envelope {
    /// A response of the model with an id that begins with `prefix`.
    #[must_use]
    pub fn new(prefix: &str, model: &Model) -> Self {
        let weights: String = model
            .info
            .fingerprint
            .chars()
            .take(FINGERPRINT_CHARS)
            .collect();
        Self {
            id: format!("{prefix}-{}", Uuid::new_v4().simple()),
            created: unix_seconds(SystemTime::now()),
            model: model.info.model_id.clone(),
            system_fingerprint: format!("{}-{weights}", env!("CARGO_PKG_VERSION")),
        }
    }
}

/// Seconds since 1970.
#[must_use]
pub fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Adds up the tokens of a request's answers; a prompt counts once, however many answers it has.
#[derive(Debug, Clone, Copy)]
pub struct UsageCounter {
    answers_per_prompt: usize,
    usage: Usage,
}

impl UsageCounter {
    /// Counts answers of which so many belong to one prompt.
    #[must_use]
    pub fn new(answers_per_prompt: usize) -> Self {
        Self {
            answers_per_prompt,
            usage: Usage::default(),
        }
    }

    /// Adds answer number `index`.
    pub fn add(&mut self, index: usize, outcome: &Outcome) {
        if index.is_multiple_of(self.answers_per_prompt) {
            self.usage.prompt_tokens += outcome.prompt_tokens;
            self.usage.prompt_tokens_details.cached_tokens += outcome.receipt.cached_tokens;
        }
        self.usage.completion_tokens += outcome.generated_tokens;
        self.usage.total_tokens = self.usage.prompt_tokens + self.usage.completion_tokens;
    }

    /// The sums.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// The sums over complete answers.
    #[must_use]
    pub fn of(answers: &[Completed], answers_per_prompt: usize) -> Usage {
        let mut counter = Self::new(answers_per_prompt);
        for (index, answer) in answers.iter().enumerate() {
            counter.add(index, &answer.outcome);
        }
        counter.usage
    }
}

/// The frame after the last one.
pub fn done() -> Event {
    Event::default().data("[DONE]")
}

/// The frame of a prefill that goes on, as a chunk without choices.
pub fn progress(envelope: &Envelope, object: &str, progress: Progress) -> Event {
    sse::json(&json!({
        "id": envelope.id,
        "object": object,
        "created": envelope.created,
        "model": envelope.model,
        "system_fingerprint": envelope.system_fingerprint,
        "choices": [],
        "prefill": PrefillProgress::from(progress),
    }))
}

/// The frame of an error.
pub fn error(error: &ApiError) -> Event {
    sse::json(&Form::OpenAi.body(error))
}

impl From<&TextToken> for TokenLogprob {
    fn from(token: &TextToken) -> Self {
        Self {
            token: token.text.clone(),
            logprob: token.logprob,
            bytes: token.text.clone().into_bytes(),
            top_logprobs: token.top.iter().map(TopLogprob::from).collect(),
        }
    }
}

impl From<&TopToken> for TopLogprob {
    fn from(top: &TopToken) -> Self {
        Self {
            token: top.text.clone(),
            logprob: top.logprob,
            bytes: top.text.clone().into_bytes(),
        }
    }
}

impl From<Progress> for PrefillProgress {
    fn from(progress: Progress) -> Self {
        Self {
            cached: progress.cached,
            done: progress.done,
            total: progress.total,
            eta: progress.eta.as_secs_f32(),
        }
    }
}

impl From<generation::FinishReason> for FinishReason {
    fn from(reason: generation::FinishReason) -> Self {
        match reason {
            generation::FinishReason::Length => Self::Length,
            generation::FinishReason::StopToken | generation::FinishReason::Stopped => Self::Stop,
        }
    }
}
