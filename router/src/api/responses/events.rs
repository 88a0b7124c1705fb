//! A response as a stream of typed events.

use axum::response::sse::Event;

use crate::api::answer::Part;
use crate::api::responses::object::Writer;
use crate::api::sse::{self, Encode, Frames};
use crate::api::types::response_object::{EventBody, ResponseEvent};
use crate::error::ApiError;

/// Tells of a response while it is written.
pub struct EventEncoder {
    writer: Writer,
    /// Number of the next event.
    next: u64,
}

impl EventEncoder {
    /// An encoder of a response that has just begun.
    #[must_use]
    pub fn new(writer: Writer) -> Self {
        Self { writer, next: 0 }
    }

    fn send(&mut self, events: Vec<EventBody>, frames: &mut Frames) {
        for body in events {
            frames.push_back(frame(self.next, body));
            self.next += 1;
        }
    }
}

fn frame(sequence_number: u64, body: EventBody) -> Event {
    sse::typed(&ResponseEvent {
        sequence_number,
        body,
    })
}

impl Encode for EventEncoder {
    fn begin(&mut self, frames: &mut Frames) {
        let response = Box::new(self.writer.response.clone());
        let created = EventBody::Created {
            response: response.clone(),
        };
        self.send(vec![created, EventBody::InProgress { response }], frames);
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
        self.send(events, frames);
        Ok(())
    }

    fn error(&self, error: &ApiError) -> Event {
        let response = Box::new(self.writer.failed(error));
        frame(self.next, EventBody::Failed { response })
    }
}
