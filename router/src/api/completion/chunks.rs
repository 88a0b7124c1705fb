//! Answers as a stream of chunks, of the same shape as the whole.

use axum::response::sse::Event;

use super::output::{Format, Place, choice, prompt_logprobs};
use crate::api::answer::{Part, TextToken};
use crate::api::openai::{self, UsageCounter};
use crate::api::prompt::PromptToken;
use crate::api::sse::{self, Encode, Frames};
use crate::api::types::completion::{CompletionChoice, CompletionLogprobs};
use crate::error::ApiError;
use crate::generation::Progress;

/// Writes the chunks.
pub struct ChunkEncoder {
    format: Format,
    /// One an answer.
    places: Vec<Place>,
    usage: UsageCounter,
    include_usage: bool,
}

impl ChunkEncoder {
    /// An encoder of so many answers.
    #[must_use]
    pub fn new(format: Format, answers: usize, include_usage: bool) -> Self {
        let place = |index| Place::after(format.prompt_text(index));
        Self {
            places: (0..answers).map(place).collect(),
            usage: UsageCounter::new(format.drawn),
            format,
            include_usage,
        }
    }

    fn chunk(&self, choice: CompletionChoice) -> Event {
        sse::json(&self.format.completion(vec![choice], None))
    }

    fn prompt_chunk(&self, index: usize, logprobs: Option<CompletionLogprobs>) -> Event {
        let text = self.format.prompt_text(index).to_owned();
        self.chunk(choice(index, text, logprobs, None))
    }

    fn token(&mut self, index: usize, token: TextToken) -> Event {
        let tokens = std::slice::from_ref(&token);
        let logprobs = self.format.logprobs;
        let logprobs = logprobs.then(|| self.places[index].lists(tokens));
        self.chunk(choice(index, token.delta, logprobs, None))
    }
}

impl Encode for ChunkEncoder {
    fn progress(&mut self, _index: usize, progress: Progress, frames: &mut Frames) {
        let envelope = &self.format.envelope;
        frames.push_back(openai::progress(envelope, "text_completion", progress));
    }

    fn begin(&mut self, frames: &mut Frames) {
        // With log probabilities the prompt's text comes together with them.
        if self.format.echo.is_some() && !self.format.logprobs {
            frames.extend((0..self.places.len()).map(|index| self.prompt_chunk(index, None)));
        }
    }

    fn prompt(&mut self, index: usize, prompt: Vec<PromptToken>, frames: &mut Frames) {
        frames.push_back(self.prompt_chunk(index, Some(prompt_logprobs(&prompt))));
    }

    fn part(&mut self, index: usize, part: Part, frames: &mut Frames) -> Result<(), ApiError> {
        match part {
            Part::Token(_) if self.format.prompt_only => {}
            // Held back or inside a character: nothing to tell yet.
            Part::Token(token) if token.delta.is_empty() && !self.format.logprobs => {}
            Part::Token(token) => {
                let frame = self.token(index, token);
                frames.push_back(frame);
            }
            Part::End(outcome) => {
                let outcome = self.format.trim_outcome(outcome);
                self.usage.add(index, &outcome);
                let reason = Some(outcome.reason.into());
                frames.push_back(self.chunk(choice(index, outcome.rest, None, reason)));
            }
        }
        Ok(())
    }

    fn error(&self, error: &ApiError) -> Event {
        openai::error(error)
    }

    fn finish(&mut self, frames: &mut Frames) {
        if self.include_usage {
            let usage = Some(self.usage.usage());
            frames.push_back(sse::json(&self.format.completion(vec![], usage)));
        }
        frames.push_back(openai::done());
    }
}
