//! A message as a stream of typed events.

use axum::response::sse::Event;

use crate::api::answer::Part;
use crate::api::messages::output::Writer;
use crate::api::sse::{self, Encode, Frames};
use crate::api::types::message_object::MessageEvent;
use crate::error::{ApiError, Form};

/// Tells of a message while it is written.
pub struct EventEncoder {
    writer: Writer,
}

impl EventEncoder {
    /// An encoder of a message that has just begun.
    #[must_use]
    pub fn new(writer: Writer) -> Self {
        Self { writer }
    }
}

impl Encode for EventEncoder {
    fn begin(&mut self, frames: &mut Frames) {
        let message = Box::new(self.writer.message.clone());
        frames.push_back(sse::typed(&MessageEvent::MessageStart { message }));
        frames.push_back(sse::typed(&MessageEvent::Ping {}));
    }

    fn part(&mut self, _index: usize, part: Part, frames: &mut Frames) -> Result<(), ApiError> {
        let mut events = Vec::new();
        match part {
            Part::Token(token) => self.writer.push(&token.delta, &mut events),
            Part::End(outcome) => {
                self.writer.push(&outcome.rest, &mut events);
                self.writer.end(&outcome, &mut events);
            }
        }
        frames.extend(events.iter().map(sse::typed));
        Ok(())
    }

    fn error(&self, error: &ApiError) -> Event {
        sse::typed(&Form::Anthropic.body(error))
    }
}
