//! Chat answers as a stream of chunks, and what they share with whole answers.

use axum::response::sse::Event;

use crate::api::answer::{Part, TextToken};
use crate::api::conversation::{Piece, Reader};
use crate::api::openai::{self, Envelope, UsageCounter};
use crate::api::sse::{self, Encode, Frames};
use crate::api::types::chat::{
    ChatChunk, ChatLogprobs, ChunkChoice, Delta, FunctionDelta, ToolCallDelta,
};
use crate::api::types::openai::{FinishReason, TokenLogprob, Usage};
use crate::error::ApiError;
use crate::generation::{self, Progress};

/// Log probabilities of tokens, as chat clients read them.
#[must_use]
pub fn chat_logprobs(tokens: &[TextToken]) -> ChatLogprobs {
    ChatLogprobs {
        content: tokens.iter().map(TokenLogprob::from).collect(),
    }
}

/// Why a choice ended: an answer that ends by itself after a call waits for its result.
#[must_use]
pub fn finish_reason(reason: generation::FinishReason, is_call: bool) -> FinishReason {
    match reason.into() {
        FinishReason::Stop if is_call => FinishReason::ToolCalls,
        reason => reason,
    }
}

/// Chunks: the role, the text piece by piece, the reason for the end; then the token counts.
pub struct ChunkEncoder {
    envelope: Envelope,
    /// One an answer.
    readers: Vec<Reader>,
    /// Whether each answer called a function.
    called: Vec<bool>,
    logprobs: bool,
    usage: UsageCounter,
    include_usage: bool,
}

impl ChunkEncoder {
    /// An encoder of answers that are read by `readers`.
    #[must_use]
    pub fn new(
        envelope: Envelope,
        readers: Vec<Reader>,
        logprobs: bool,
        include_usage: bool,
    ) -> Self {
        Self {
            envelope,
            called: vec![false; readers.len()],
            usage: UsageCounter::new(readers.len()),
            readers,
            logprobs,
            include_usage,
        }
    }

    fn chunk(&self, choices: Vec<ChunkChoice>, usage: Option<Usage>) -> Event {
        let envelope = self.envelope.clone();
        sse::json(&ChatChunk {
            id: envelope.id,
            object: "chat.completion.chunk",
            created: envelope.created,
            model: envelope.model,
            system_fingerprint: envelope.system_fingerprint,
            choices,
            usage,
        })
    }

    fn delta(&self, index: usize, delta: Delta, logprobs: Option<ChatLogprobs>) -> Event {
        self.chunk(vec![chunk_choice(index, delta, logprobs, None)], None)
    }

    /// One chunk a piece; the log probabilities of the tokens are on the first.
    fn pieces(
        &mut self,
        index: usize,
        pieces: Vec<Piece>,
        mut logprobs: Option<ChatLogprobs>,
        frames: &mut Frames,
    ) {
        if pieces.is_empty() && logprobs.is_some() {
            let delta = text_delta(String::new());
            frames.push_back(self.delta(index, delta, logprobs.take()));
        }
        for piece in pieces {
            self.called[index] |= matches!(piece, Piece::Call { .. });
            frames.push_back(self.delta(index, piece_delta(piece), logprobs.take()));
        }
    }
}

fn text_delta(text: String) -> Delta {
    Delta {
        content: Some(text),
        ..Delta::default()
    }
}

fn piece_delta(piece: Piece) -> Delta {
    let call = match piece {
        Piece::Text(text) => return text_delta(text),
        Piece::Call { index, id, name } => ToolCallDelta {
            index,
            id: Some(id),
            r#type: Some("function"),
            function: FunctionDelta {
                name: Some(name),
                arguments: String::new(),
            },
        },
        Piece::Arguments { index, json } => ToolCallDelta {
            index,
            id: None,
            r#type: None,
            function: FunctionDelta {
                name: None,
                arguments: json,
            },
        },
    };
    Delta {
        tool_calls: Some(vec![call]),
        ..Delta::default()
    }
}

fn chunk_choice(
    index: usize,
    delta: Delta,
    logprobs: Option<ChatLogprobs>,
    finish_reason: Option<FinishReason>,
) -> ChunkChoice {
    let index = u32::try_from(index).expect("choices are bounded by the client batch size");
    ChunkChoice {
        index,
        delta,
        logprobs,
        finish_reason,
    }
}

impl Encode for ChunkEncoder {
    fn progress(&mut self, _index: usize, progress: Progress, frames: &mut Frames) {
        let object = "chat.completion.chunk";
        frames.push_back(openai::progress(&self.envelope, object, progress));
    }

    fn begin(&mut self, frames: &mut Frames) {
        for (index, reader) in self.readers.iter().enumerate() {
            // An answer that may be calls alone has no text before its first word.
            let content = (!reader.may_call()).then(String::new);
            let delta = Delta {
                role: "assistant",
                content,
                tool_calls: None,
            };
            frames.push_back(self.delta(index, delta, None));
        }
    }

    fn part(&mut self, index: usize, part: Part, frames: &mut Frames) -> Result<(), ApiError> {
        match part {
            Part::Token(token) => {
                let pieces = self.readers[index].push(&token.delta);
                let logprobs = self.logprobs.then(|| chat_logprobs(&[token]));
                self.pieces(index, pieces, logprobs, frames);
            }
            Part::End(outcome) => {
                self.usage.add(index, &outcome);
                let mut pieces = self.readers[index].push(&outcome.rest);
                pieces.extend(self.readers[index].finish());
                self.pieces(index, pieces, None, frames);
                let reason = Some(finish_reason(outcome.reason, self.called[index]));
                let last = chunk_choice(index, Delta::default(), None, reason);
                frames.push_back(self.chunk(vec![last], None));
            }
        }
        Ok(())
    }

    fn error(&self, error: &ApiError) -> Event {
        openai::error(error)
    }

    fn finish(&mut self, frames: &mut Frames) {
        if self.include_usage {
            frames.push_back(self.chunk(vec![], Some(self.usage.usage())));
        }
        frames.push_back(openai::done());
    }
}
