//! Requests at the shard: what comes back for them, and when the credit is free again.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::error::{ApiError, ShardError, ShardErrorCode};
use crate::generation::{Event, FinishReason, Finished, Progress, Receipt, Token, TokenLogprob};
use crate::metrics;
use crate::pb;
use crate::queue::{Entry, Ticket};

/// Events that may wait before their reader counts as behind.
const READER_SLACK: usize = 512;

/// Reports of progress that may wait for their reader; further ones are dropped.
const MAX_REPORTS: usize = 2;

/// Events of a request beside its tokens that may wait for their reader: reports, what the model
/// makes of the prompt, the end.
pub(super) const MAX_OTHER_EVENTS: usize = MAX_REPORTS + 2;

/// The requests of one stream that have no terminal event yet, cancelled ones included: they use
/// the shard's credit until the shard says that they ended.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    /// `None` is a request that nobody waits for any more.
    requests: HashMap<u64, Option<Running>>,
}

/// A request that somebody waits for.
#[derive(Debug)]
struct Running {
    events: mpsc::Sender<Event>,
    submitted: Instant,
    /// From submission to the hand-over to the shard.
    queued: Duration,
    next_index: u32,
    max_new_tokens: u32,
    /// What the model makes of the prompt, if somebody wants it; gathered until the first token.
    prompt: Option<Vec<TokenLogprob>>,
    last_token: Instant,
    /// Since when the reader is behind.
    behind_since: Option<Instant>,
    /// Tokens that stand, once the answer was stopped.
    kept: Option<u32>,
    /// Frees the request's place in the server by drop.
    _ticket: Ticket,
}

impl InFlight {
    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    /// Notes a request that is handed to the shard now.
    pub(super) fn insert(&mut self, entry: &Entry) {
        let running = Running {
            events: entry.events.clone(),
            submitted: entry.submitted,
            queued: entry.submitted.elapsed(),
            next_index: 0,
            max_new_tokens: entry.request.max_new_tokens,
            prompt: entry.request.prompt_logprobs.then(Vec::new),
            last_token: entry.submitted,
            behind_since: None,
            kept: None,
            _ticket: Ticket::clone(&entry.ticket),
        };
        self.requests.insert(entry.id, Some(running));
    }

    /// Lets the answer end after `keep_tokens` tokens. Returns whether the shard must be told.
    pub(super) fn stop(&mut self, id: u64, keep_tokens: u32) -> bool {
        match self.requests.get_mut(&id) {
            Some(Some(running)) if running.kept.is_none() => {
                running.kept = Some(keep_tokens);
                true
            }
            _ => false,
        }
    }

    /// Forgets who waits for a request. Returns whether the shard must be told.
    pub(super) fn cancel(&mut self, id: u64) -> bool {
        let running = self.requests.get_mut(&id).and_then(Option::take);
        running.is_some_and(|running| running.kept.is_none())
    }

    /// Passes a token on. Returns the request's id when it must be cancelled because of it.
    pub(super) fn token(&mut self, token: pb::Token, write_stall: Duration) -> Option<u64> {
        let id = token.request_id;
        let Some(request) = self.requests.get_mut(&id) else {
            metrics::unknown_event();
            return None;
        };
        let error = request.as_mut()?.token(token, write_stall)?;
        let running = request.take()?;
        running.end(Event::Failed(error));
        Some(id)
    }

    /// Takes what the model makes of a run of prompt tokens. Returns the request's id when it must
    /// be cancelled because of it.
    pub(super) fn prompt(&mut self, run: pb::PromptLogprobs) -> Option<u64> {
        let id = run.request_id;
        let Some(request) = self.requests.get_mut(&id) else {
            metrics::unknown_event();
            return None;
        };
        let error = request.as_mut()?.prompt(run)?;
        let running = request.take()?;
        running.end(Event::Failed(error));
        Some(id)
    }

    /// Passes on how far a prefill is.
    pub(super) fn progress(&mut self, progress: &pb::Progress) {
        match self.requests.get(&progress.request_id) {
            Some(Some(running)) => running.progress(progress),
            Some(None) => {}
            None => metrics::unknown_event(),
        }
    }

    /// Ends a request.
    pub(super) fn finished(&mut self, finished: pb::Finished) {
        match self.requests.remove(&finished.request_id) {
            Some(Some(running)) => running.finished(finished.outcome),
            Some(None) => {}
            None => metrics::unknown_event(),
        }
    }

    /// Ends all requests with an error.
    pub(super) fn fail_all(&mut self, error: &ShardError) {
        for running in self.requests.drain().filter_map(|(_, running)| running) {
            running.end(Event::Failed(error.clone().into()));
        }
    }
}

impl Running {
    /// Passes a token on; returns why the request must end instead.
    fn token(&mut self, token: pb::Token, write_stall: Duration) -> Option<ApiError> {
        if token.index != self.next_index {
            let message = format!(
                "the shard sent token {} in the place of {}",
                token.index, self.next_index
            );
            return Some(protocol_error(message).into());
        }
        if token.index >= self.max_new_tokens {
            let message = format!(
                "the shard sent more than the {} tokens asked for",
                token.index
            );
            return Some(protocol_error(message).into());
        }
        let now = Instant::now();
        if token.index == 0 {
            metrics::first_token(now - self.submitted);
        } else {
            metrics::next_token(now - self.last_token);
        }
        self.next_index += 1;
        self.last_token = now;
        if self.reader_stalls(now, write_stall) {
            return Some(ApiError::SlowReader(write_stall));
        }
        if let Some(prompt) = self.prompt.take() {
            // As below.
            let _ = self.events.try_send(Event::Prompt(prompt));
        }
        let token = Token {
            index: token.index,
            id: token.token_id,
            logprob: token.logprob,
            top: top(&token.top),
        };
        // Only a reader that is gone can make this fail, and it has sent its cancel.
        let _ = self.events.try_send(Event::Token(token));
        None
    }

    /// Keeps a run of the prompt; returns why the request must end instead.
    fn prompt(&mut self, run: pb::PromptLogprobs) -> Option<ApiError> {
        let start = run.start as usize;
        let Some(prompt) = self
            .prompt
            .as_mut()
            .filter(|prompt| prompt.len() + 1 == start)
        else {
            let message = format!("the shard sent prompt tokens from {start} on out of turn");
            return Some(protocol_error(message).into());
        };
        let tokens = run.tokens.iter().map(|token| TokenLogprob {
            logprob: token.logprob,
            top: top(&token.top),
        });
        prompt.extend(tokens);
        None
    }

    fn progress(&self, progress: &pb::Progress) {
        let unread = self.events.max_capacity() - self.events.capacity();
        if unread >= MAX_REPORTS {
            return;
        }
        // Only a reader that is gone can make this fail.
        let _ = self.events.try_send(Event::Progress(Progress {
            cached: progress.cached_tokens,
            done: progress.done_tokens,
            total: progress.total_tokens,
            eta: Duration::from_micros(progress.eta_us),
        }));
    }

    fn reader_stalls(&mut self, now: Instant, write_stall: Duration) -> bool {
        let unread = self.events.max_capacity() - self.events.capacity();
        if unread < READER_SLACK {
            self.behind_since = None;
            return false;
        }
        now - *self.behind_since.get_or_insert(now) >= write_stall
    }

    fn finished(self, outcome: Option<pb::finished::Outcome>) {
        let event = match outcome {
            Some(pb::finished::Outcome::Completion(completion)) => self.completed(&completion),
            Some(pb::finished::Outcome::Error(error)) => Event::Failed(self.failed(error)),
            None => Event::Failed(
                protocol_error("the shard sent an end without an outcome".into()).into(),
            ),
        };
        self.end(event);
    }

    fn completed(&self, completion: &pb::Completion) -> Event {
        let reason = match (self.kept, completion.reason()) {
            (Some(_), _) => FinishReason::Stopped,
            (None, pb::FinishReason::Length) => FinishReason::Length,
            (None, pb::FinishReason::StopToken) => FinishReason::StopToken,
            (None, reason) => {
                let message = format!("the shard ended a request with {}", reason.as_str_name());
                return Event::Failed(protocol_error(message).into());
            }
        };
        let receipt = completion.receipt.unwrap_or_default();
        let generated = completion.generated_tokens;
        Event::Finished(Finished {
            reason,
            prompt_tokens: completion.prompt_tokens,
            generated_tokens: self.kept.map_or(generated, |kept| generated.min(kept)),
            receipt: Receipt {
                cached_tokens: receipt.cached_tokens,
                router_queue: self.queued,
                queue: self.queued + Duration::from_micros(receipt.wait_us),
                prefill: Duration::from_micros(receipt.prefill_us),
                decode: Duration::from_micros(receipt.decode_us),
            },
        })
    }

    fn failed(&self, error: pb::Error) -> ApiError {
        let code = match error.code() {
            pb::ErrorCode::Timeout => return ApiError::Timeout(self.submitted.elapsed()),
            pb::ErrorCode::Invalid => ShardErrorCode::Invalid,
            pb::ErrorCode::EngineFailed | pb::ErrorCode::Unspecified => {
                ShardErrorCode::EngineFailed
            }
        };
        ShardError {
            code,
            message: error.message,
            retryable: error.retryable,
        }
        .into()
    }

    fn end(self, event: Event) {
        // As in `token`.
        let _ = self.events.try_send(event);
    }
}

fn top(tokens: &[pb::TopToken]) -> Vec<(u32, f32)> {
    tokens
        .iter()
        .map(|token| (token.token_id, token.logprob))
        .collect()
}

fn protocol_error(message: String) -> ShardError {
    ShardError {
        code: ShardErrorCode::Protocol,
        message,
        retryable: false,
    }
}
