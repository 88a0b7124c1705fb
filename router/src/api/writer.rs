//! Answers that are written step by step, each step told by a typed event: OpenAI's responses and
//! Anthropic's messages. A whole answer is written by the same steps; its events are dropped.

use axum::Json;
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::api::answer::{Answer, Outcome, Part, TextToken};
use crate::api::sse::{self, Encode, Frames};
use crate::api::timing::Clock;
use crate::api::validate::Delivery;
use crate::error::ApiError;

/// Something in the making.
pub trait Writer: Send + 'static {
    /// What tells of a step.
    type Event;
    /// What it is in the end.
    type Whole: Serialize;

    /// Events before the first token.
    fn begin(&self) -> Vec<Self::Event>;

    /// Takes the next token.
    fn token(&mut self, token: &TextToken, events: &mut Vec<Self::Event>);

    /// Takes the end, after which all is written.
    fn end(&mut self, outcome: &Outcome, events: &mut Vec<Self::Event>);

    /// What was written.
    fn whole(self) -> Self::Whole;

    /// The frame of event number `number`.
    fn frame(number: u64, event: Self::Event) -> Event;

    /// The frame of an error, in the place of event number `number`.
    fn failed(&self, number: u64, error: &ApiError) -> Event;
}

/// Answers a request by what `writer` makes of the answer.
///
/// # Errors
/// What the generation of a whole answer failed with; a stream tells of it.
pub async fn respond<W: Writer>(
    answer: Answer,
    mut writer: W,
    delivery: Delivery,
    (clock, device): (Clock, &str),
) -> Result<Response, ApiError> {
    if delivery == Delivery::Stream {
        let encoder = EventEncoder { writer, next: 0 };
        let events = sse::respond(vec![answer], encoder);
        return Ok((clock.stream_headers(device), events).into_response());
    }
    let answer = answer.collect().await?;
    let mut events = Vec::new();
    for token in &answer.tokens {
        writer.token(token, &mut events);
        events.clear();
    }
    writer.end(&answer.outcome, &mut events);
    let headers = clock.headers(device, &[answer]);
    Ok((headers, Json(writer.whole())).into_response())
}

/// Tells of what is written.
struct EventEncoder<W> {
    writer: W,
    /// Number of the next event.
    next: u64,
}

impl<W: Writer> EventEncoder<W> {
    fn send(&mut self, events: Vec<W::Event>, frames: &mut Frames) {
        for event in events {
            frames.push_back(W::frame(self.next, event));
            self.next += 1;
        }
    }
}

impl<W: Writer> Encode for EventEncoder<W> {
    fn begin(&mut self, frames: &mut Frames) {
        self.send(self.writer.begin(), frames);
    }

    fn part(&mut self, _index: usize, part: Part, frames: &mut Frames) -> Result<(), ApiError> {
        let mut events = Vec::new();
        match part {
            Part::Token(token) => self.writer.token(&token, &mut events),
            Part::End(outcome) => self.writer.end(&outcome, &mut events),
        }
        self.send(events, frames);
        Ok(())
    }

    fn error(&self, error: &ApiError) -> Event {
        self.writer.failed(self.next, error)
    }
}
