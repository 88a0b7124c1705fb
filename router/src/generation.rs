//! A running request as its handler sees it: a stream of tokens that ends with exactly one
//! terminal event. Dropping it before that cancels the request wherever it is.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::dispatch::Control;
use crate::error::ApiError;
use crate::exchange::{self, Exchange, Generated};
use crate::metrics;

/// One event of a generation.
#[derive(Debug)]
pub enum Event {
    /// The next token of the answer.
    Token(Token),
    /// How far the prefill is.
    Progress(Progress),
    /// What the model makes of the prompt's tokens but the first; comes before the first token.
    Prompt(Vec<TokenLogprob>),
    /// The answer is complete; nothing follows.
    Finished(Finished),
    /// The request failed; nothing follows.
    Failed(ApiError),
}

/// A drawn token.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// Position in the answer, from 0.
    pub index: u32,
    /// Token id.
    pub id: u32,
    /// Natural log of its probability.
    pub logprob: f32,
    /// The most likely tokens at this position and their log probabilities.
    pub top: Vec<(u32, f32)>,
}

/// What the model makes of a token that is in the text.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprob {
    /// Natural log of its probability.
    pub logprob: f32,
    /// The most likely tokens at this position and their log probabilities.
    pub top: Vec<(u32, f32)>,
}

/// How far a prefill is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Tokens taken from the cache.
    pub cached: u32,
    /// Tokens that need no more computing, the cached ones included.
    pub done: u32,
    /// All tokens.
    pub total: u32,
    /// Estimate of the time until the first token.
    pub eta: Duration,
}

/// Why and how a generation ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    /// What ended it.
    pub reason: FinishReason,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens of the answer that stand.
    pub generated_tokens: u32,
    /// What it cost.
    pub receipt: Receipt,
}

/// What ended a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// The length limit.
    Length,
    /// A stop token was drawn.
    StopToken,
    /// `Generation::stop` (a stop string was found).
    Stopped,
}

/// Where the time went and what the cache spared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Receipt {
    /// Prompt tokens taken from the cache.
    pub cached_tokens: u32,
    /// From submission to the first scheduled step (router queue and shard together).
    pub queue: Duration,
    /// The router's part of it, up to the hand-over to the shard.
    pub router_queue: Duration,
    /// From the first scheduled step to the first token.
    pub prefill: Duration,
    /// From the first token to the last.
    pub decode: Duration,
}

/// A request that the queue took.
#[derive(Debug)]
pub struct Generation {
    events: mpsc::Receiver<Event>,
    control: Control,
    submitted: Instant,
    /// Longest life of the request.
    timeout: Duration,
    ended: bool,
    /// What it is a part of.
    exchange: Option<Arc<Exchange>>,
}

impl Generation {
    pub(crate) fn new(
        events: mpsc::Receiver<Event>,
        control: Control,
        submitted: Instant,
        timeout: Duration,
    ) -> Self {
        Self {
            events,
            control,
            submitted,
            timeout,
            ended: false,
            exchange: exchange::current(),
        }
    }

    /// The next event; `None` after the terminal one. Cancel safe.
    pub async fn next(&mut self) -> Option<Event> {
        if self.ended {
            return None;
        }
        let event = match timeout_at(self.submitted + self.timeout, self.events.recv()).await {
            Ok(Some(event)) => event,
            Ok(None) => Event::Failed(ApiError::IncompleteGeneration),
            Err(_) => {
                self.control.cancel();
                Event::Failed(ApiError::Timeout(self.timeout))
            }
        };
        self.note(&event);
        Some(event)
    }

    /// Ends the answer after its first `keep_tokens` tokens, because its text is complete. Tokens
    /// that were drawn in the meantime may still come before the terminal event.
    pub fn stop(&mut self, keep_tokens: u32) {
        if !self.ended {
            self.control.stop(keep_tokens);
        }
    }

    fn note(&mut self, event: &Event) {
        match event {
            Event::Token(_) | Event::Progress(_) | Event::Prompt(_) => return,
            Event::Finished(finished) => {
                metrics::request_succeeded(finished, self.submitted.elapsed());
                self.tell(Some(finished));
            }
            Event::Failed(error) => {
                metrics::request_failed(error);
                self.tell(None);
                if let Some(exchange) = &self.exchange {
                    exchange.failed(error);
                }
            }
        }
        self.ended = true;
    }

    /// Tells the exchange that the generation is over.
    fn tell(&self, finished: Option<&Finished>) {
        if let Some(exchange) = &self.exchange {
            exchange.generated(Generated {
                submitted: self.submitted,
                ended: Instant::now(),
                finished: finished.cloned(),
            });
        }
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        if !self.ended {
            metrics::disconnected();
            self.tell(None);
            self.control.cancel();
        }
    }
}
