//! Server-sent events: answers as they come, by an encoder that knows the route's format.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::future::ready;
use futures::stream::{BoxStream, SelectAll, once, select_all, unfold};
use futures::{Stream, StreamExt};
use http::{HeaderName, HeaderValue};
use serde::Serialize;

use crate::api::answer::{Answer, Part, Update};
use crate::api::prompt::PromptToken;
use crate::error::ApiError;
use crate::generation::Progress;

/// Silence after which a comment line shows that the connection lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What a stream begins with, so that its client hears at once that the request was admitted,
/// however long the first token takes.
const ADMITTED: &str = "admitted";

/// Asks nginx to pass events on as they come.
const NO_BUFFERING: (HeaderName, HeaderValue) = (
    HeaderName::from_static("x-accel-buffering"),
    HeaderValue::from_static("no"),
);

/// Frames to send, in order.
pub type Frames = VecDeque<Event>;

/// A route's stream format.
pub trait Encode: Send + 'static {
    /// Frames before the first token.
    fn begin(&mut self, _frames: &mut Frames) {}

    /// Frames of the next part of answer number `index`.
    ///
    /// # Errors
    /// When the part cannot be said in this format; the stream then ends with the error.
    fn part(&mut self, index: usize, part: Part, frames: &mut Frames) -> Result<(), ApiError>;

    /// Frames that tell how far the prefill of answer number `index` is.
    fn progress(&mut self, _index: usize, _progress: Progress, _frames: &mut Frames) {}

    /// Frames of the prompt of answer number `index`, before its first part.
    fn prompt(&mut self, _index: usize, _prompt: Vec<PromptToken>, _frames: &mut Frames) {}

    /// The frame of an error, after which nothing follows.
    fn error(&self, error: &ApiError) -> Event;

    /// Frames after all answers are complete.
    fn finish(&mut self, _frames: &mut Frames) {}
}

/// A frame that carries JSON.
pub fn json(data: &impl Serialize) -> Event {
    Event::default()
        .json_data(data)
        .expect("the response types serialize to one line of JSON")
}

/// A frame that carries JSON, named by the JSON's own field "type".
pub fn typed(data: &impl Serialize) -> Event {
    let data = serde_json::to_value(data).expect("the response types serialize to JSON");
    let name = data["type"].as_str().unwrap_or_default().to_owned();
    json(&data).event(name)
}

/// Sends the answers, interleaved as their tokens come.
pub fn respond(answers: Vec<Answer>, encoder: impl Encode) -> Response {
    event_stream(frames(answers, encoder))
}

fn event_stream(frames: impl Stream<Item = Event> + Send + 'static) -> Response {
    let admitted = once(ready(Event::default().comment(ADMITTED)));
    let sse = Sse::new(admitted.chain(frames).map(Ok::<_, Infallible>));
    let sse = sse.keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    ([NO_BUFFERING], sse).into_response()
}

type NumberedUpdates = BoxStream<'static, (usize, Result<Update, ApiError>)>;

struct Driver<E> {
    updates: SelectAll<NumberedUpdates>,
    encoder: E,
    frames: Frames,
    /// Frames that were sent; each has its number as its id.
    sent: usize,
    done: bool,
}

fn frames<E: Encode>(answers: Vec<Answer>, mut encoder: E) -> impl Stream<Item = Event> + Send {
    let numbered = answers.into_iter().enumerate().map(|(index, answer)| {
        answer
            .into_updates()
            .map(move |update| (index, update))
            .boxed()
    });
    let mut frames = Frames::new();
    encoder.begin(&mut frames);
    let driver = Driver {
        updates: select_all(numbered),
        encoder,
        frames,
        sent: 0,
        done: false,
    };
    unfold(driver, |mut driver| async move {
        Some((driver.next().await?, driver))
    })
}

impl<E: Encode> Driver<E> {
    async fn next(&mut self) -> Option<Event> {
        while self.frames.is_empty() && !self.done {
            self.advance().await;
        }
        let frame = self.frames.pop_front()?;
        self.sent += 1;
        Some(frame.id(self.sent.to_string()))
    }

    async fn advance(&mut self) {
        let Some((index, update)) = self.updates.next().await else {
            self.encoder.finish(&mut self.frames);
            self.done = true;
            return;
        };
        if let Err(error) = update.and_then(|update| self.encode(index, update)) {
            self.frames.push_back(self.encoder.error(&error));
            // Cancels the other answers.
            self.updates = SelectAll::new();
            self.done = true;
        }
    }

    fn encode(&mut self, index: usize, update: Update) -> Result<(), ApiError> {
        let frames = &mut self.frames;
        match update {
            Update::Progress(progress) => self.encoder.progress(index, progress, frames),
            Update::Prompt(prompt) => self.encoder.prompt(index, prompt, frames),
            Update::Part(part) => self.encoder.part(index, part, frames)?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use axum::body::BodyDataStream;
    use futures::FutureExt;
    use tokio::time::Instant;

    use super::*;

    fn body_of(frames: impl Stream<Item = Event> + Send + 'static) -> BodyDataStream {
        event_stream(frames).into_body().into_data_stream()
    }

    async fn next_chunk(body: &mut BodyDataStream) -> String {
        let chunk = body.next().await.expect("the stream goes on");
        String::from_utf8(chunk.expect("a frame").to_vec()).expect("text")
    }

    #[tokio::test]
    async fn a_stream_begins_with_a_comment_before_there_is_any_event() {
        let mut body = body_of(futures::stream::pending());
        let first = next_chunk(&mut body).now_or_never();
        assert_eq!(first.as_deref(), Some(": admitted\n\n"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_shows_that_it_lives() {
        let started = Instant::now();
        let mut body = body_of(futures::stream::pending());
        next_chunk(&mut body).await;
        for beat in 1..=3 {
            assert_eq!(next_chunk(&mut body).await, ":\n\n");
            assert_eq!(started.elapsed().as_secs(), beat * KEEP_ALIVE.as_secs());
        }
    }
}
