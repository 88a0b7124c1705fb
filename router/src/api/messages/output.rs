//! The assistant's words and calls as content blocks, and the events that tell of each step.
//!
//! A whole message is made by the same steps as a stream; its events are dropped.

use axum::response::sse::Event;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::api::answer::{Outcome, TextToken};
use crate::api::conversation::{Piece, Reader};
use crate::api::sse;
use crate::api::types::message_object::{
    Block, BlockDelta, MessageEnd, MessageEvent, MessageObject, MessageUsage, StopReason,
};
use crate::api::writer::Writer;
use crate::error::{ApiError, Form};
use crate::generation::FinishReason;
use crate::model::Model;

/// A message in the making.
pub struct MessageWriter {
    /// As it is now; its content is set at the end.
    message: MessageObject,
    reader: Reader,
    blocks: Vec<Draft>,
    is_open: bool,
    /// What the length limit means.
    limit: StopReason,
}

/// A block in the making.
#[derive(Debug)]
enum Draft {
    Text(String),
    Use {
        id: String,
        name: String,
        json: String,
    },
}

impl MessageWriter {
    /// A message that has just begun, in answer to a prompt of so many tokens; `limit` is what its
    /// length limit means.
    #[must_use]
    pub fn new(model: &Model, prompt_tokens: usize, reader: Reader, limit: StopReason) -> Self {
        let usage = MessageUsage {
            input_tokens: u32::try_from(prompt_tokens).unwrap_or(u32::MAX),
            ..MessageUsage::default()
        };
        let message = MessageObject {
            id: format!("msg_{}", Uuid::new_v4().simple()),
            r#type: "message",
            role: "assistant",
            model: model.info.model_id.clone(),
            content: vec![],
            stop_reason: None,
            stop_sequence: None,
            usage,
        };
        Self {
            message,
            reader,
            blocks: vec![],
            is_open: false,
            limit,
        }
    }

    fn push(&mut self, text: &str, events: &mut Vec<MessageEvent>) {
        for piece in self.reader.push(text) {
            self.take(piece, events);
        }
    }

    fn take(&mut self, piece: Piece, events: &mut Vec<MessageEvent>) {
        match piece {
            Piece::Text(text) => self.say(text, events),
            Piece::Call { id, name, .. } => {
                let json = String::new();
                self.open(Draft::Use { id, name, json }, events);
            }
            Piece::Arguments { json, .. } => self.argue(json, events),
        }
    }

    fn say(&mut self, more: String, events: &mut Vec<MessageEvent>) {
        if !matches!(self.open_block(), Some(Draft::Text(_))) {
            self.open(Draft::Text(String::new()), events);
        }
        if let Some(Draft::Text(text)) = self.open_block() {
            text.push_str(&more);
            self.tell(BlockDelta::TextDelta { text: more }, events);
        }
    }

    fn argue(&mut self, more: String, events: &mut Vec<MessageEvent>) {
        if let Some(Draft::Use { json, .. }) = self.open_block() {
            json.push_str(&more);
            self.tell(BlockDelta::InputJsonDelta { partial_json: more }, events);
        }
    }

    fn open_block(&mut self) -> Option<&mut Draft> {
        self.blocks.last_mut().filter(|_| self.is_open)
    }

    fn open(&mut self, block: Draft, events: &mut Vec<MessageEvent>) {
        self.close(events);
        events.push(MessageEvent::ContentBlockStart {
            index: self.blocks.len(),
            content_block: block.begin(),
        });
        self.blocks.push(block);
        self.is_open = true;
    }

    fn tell(&self, delta: BlockDelta, events: &mut Vec<MessageEvent>) {
        let index = self.blocks.len() - 1;
        events.push(MessageEvent::ContentBlockDelta { index, delta });
    }

    fn close(&mut self, events: &mut Vec<MessageEvent>) {
        if std::mem::take(&mut self.is_open) {
            let index = self.blocks.len() - 1;
            events.push(MessageEvent::ContentBlockStop { index });
        }
    }

    fn stop_reason(&self, reason: FinishReason) -> StopReason {
        let uses_tool = self
            .blocks
            .iter()
            .any(|block| matches!(block, Draft::Use { .. }));
        match reason {
            FinishReason::Length => self.limit,
            FinishReason::Stopped => StopReason::StopSequence,
            FinishReason::StopToken if uses_tool => StopReason::ToolUse,
            FinishReason::StopToken => StopReason::EndTurn,
        }
    }
}

impl Writer for MessageWriter {
    type Event = MessageEvent;
    type Whole = MessageObject;

    fn begin(&self) -> Vec<MessageEvent> {
        let message = Box::new(self.message.clone());
        vec![
            MessageEvent::MessageStart { message },
            MessageEvent::Ping {},
        ]
    }

    fn token(&mut self, token: &TextToken, events: &mut Vec<MessageEvent>) {
        self.push(&token.delta, events);
    }

    fn end(&mut self, outcome: &Outcome, events: &mut Vec<MessageEvent>) {
        self.push(&outcome.rest, events);
        for piece in self.reader.finish() {
            self.take(piece, events);
        }
        self.close(events);
        let end = MessageEnd {
            stop_reason: self.stop_reason(outcome.reason),
            stop_sequence: outcome.stop_sequence.clone(),
        };
        let message = &mut self.message;
        message.stop_reason = Some(end.stop_reason);
        message.stop_sequence.clone_from(&end.stop_sequence);
        message.usage = usage(outcome);
        message.content = self.blocks.drain(..).filter_map(Draft::finish).collect();
        let usage = message.usage;
        events.push(MessageEvent::MessageDelta { delta: end, usage });
        events.push(MessageEvent::MessageStop {});
    }

    fn whole(self) -> MessageObject {
        self.message
    }

    fn frame(_number: u64, event: MessageEvent) -> Event {
        sse::typed(&event)
    }

    fn failed(&self, _number: u64, error: &ApiError) -> Event {
        sse::typed(&Form::Anthropic.body(error))
    }
}

impl Draft {
    fn begin(&self) -> Block {
        match self {
            Self::Text(_) => Block::Text {
                text: String::new(),
            },
            Self::Use { id, name, .. } => Block::ToolUse {
                id: id.clone(),
                name: name.clone(),
                input: Map::new(),
            },
        }
    }

    /// The whole block; `None` for a use whose arguments were cut off.
    fn finish(self) -> Option<Block> {
        Some(match self {
            Self::Text(text) => Block::Text { text },
            Self::Use { id, name, json } => {
                let input: Map<String, Value> = serde_json::from_str(&json).ok()?;
                Block::ToolUse { id, name, input }
            }
        })
    }
}

/// As Anthropic counts: what was read from the cache is no input.
fn usage(outcome: &Outcome) -> MessageUsage {
    let cached = outcome.receipt.cached_tokens;
    MessageUsage {
        input_tokens: outcome.prompt_tokens.saturating_sub(cached),
        output_tokens: outcome.generated_tokens,
        cache_read_input_tokens: Some(cached),
        cache_creation_input_tokens: 0,
    }
}
