//! The assistant's words and calls as output items, and the events that tell of each step.
//!
//! A whole response is made by the same steps as a stream; its events are dropped.

use uuid::Uuid;

use crate::api::conversation::Piece;
use crate::api::types::openai::TokenLogprob;
use crate::api::types::response_object::{EventBody, OutputItem, OutputText, ResponseStatus};

/// Output items of one response; the last one may be open.
#[derive(Debug, Default)]
pub struct Output {
    items: Vec<OutputItem>,
    is_open: bool,
}

impl Output {
    /// Takes the next piece of the answer, with the log probabilities of its tokens as far as they
    /// are asked for.
    pub fn push(&mut self, piece: Piece, logprobs: Vec<TokenLogprob>, events: &mut Vec<EventBody>) {
        match piece {
            Piece::Text(text) => self.say(text, logprobs, events),
            Piece::Call { id, name, .. } => self.call(id, name, events),
            Piece::Arguments { json, .. } => self.argue(json, events),
        }
    }

    /// Ends the output; the item that is open gets `status`. An answer without words and calls has
    /// one empty message.
    pub fn end(&mut self, status: ResponseStatus, events: &mut Vec<EventBody>) {
        if self.items.is_empty() {
            self.open_message(events);
        }
        self.close(status, events);
    }

    /// The items so far.
    #[must_use]
    pub fn items(&self) -> &[OutputItem] {
        &self.items
    }

    fn say(&mut self, more: String, logprobs: Vec<TokenLogprob>, events: &mut Vec<EventBody>) {
        if !matches!(self.open_item(), Some(OutputItem::Message { .. })) {
            self.open_message(events);
        }
        let output_index = self.items.len() - 1;
        if let Some(OutputItem::Message { id, content, .. }) = self.open_item() {
            content[0].text.push_str(&more);
            content[0].logprobs.extend_from_slice(&logprobs);
            events.push(EventBody::TextDelta {
                item_id: id.clone(),
                output_index,
                content_index: 0,
                delta: more,
                logprobs,
            });
        }
    }

    fn call(&mut self, call_id: String, name: String, events: &mut Vec<EventBody>) {
        let item = OutputItem::FunctionCall {
            id: item_id("fc"),
            call_id,
            name,
            arguments: String::new(),
            status: ResponseStatus::InProgress,
        };
        self.open(item, events);
    }

    fn argue(&mut self, more: String, events: &mut Vec<EventBody>) {
        let output_index = self.items.len().saturating_sub(1);
        if let Some(OutputItem::FunctionCall { id, arguments, .. }) = self.open_item() {
            arguments.push_str(&more);
            events.push(EventBody::ArgumentsDelta {
                item_id: id.clone(),
                output_index,
                delta: more,
            });
        }
    }

    fn open_item(&mut self) -> Option<&mut OutputItem> {
        self.items.last_mut().filter(|_| self.is_open)
    }

    fn open(&mut self, item: OutputItem, events: &mut Vec<EventBody>) {
        self.close(ResponseStatus::Completed, events);
        events.push(EventBody::ItemAdded {
            output_index: self.items.len(),
            item: item.clone(),
        });
        self.items.push(item);
        self.is_open = true;
    }

    fn open_message(&mut self, events: &mut Vec<EventBody>) {
        let id = item_id("msg");
        // Announced without its part, which follows.
        let item = OutputItem::Message {
            id: id.clone(),
            status: ResponseStatus::InProgress,
            role: "assistant",
            content: vec![],
        };
        self.open(item, events);
        events.push(EventBody::PartAdded {
            item_id: id,
            output_index: self.items.len() - 1,
            content_index: 0,
            part: OutputText::default(),
        });
        if let Some(OutputItem::Message { content, .. }) = self.open_item() {
            content.push(OutputText::default());
        }
    }

    fn close(&mut self, end: ResponseStatus, events: &mut Vec<EventBody>) {
        let output_index = self.items.len().saturating_sub(1);
        let Some(item) = self.open_item() else {
            return;
        };
        match item {
            OutputItem::Message {
                id,
                content,
                status,
                ..
            } => {
                *status = end;
                events.extend(message_done(id, output_index, &content[0]));
            }
            OutputItem::FunctionCall {
                id,
                name,
                arguments,
                status,
                ..
            } => {
                *status = end;
                events.push(EventBody::ArgumentsDone {
                    item_id: id.clone(),
                    output_index,
                    name: name.clone(),
                    arguments: arguments.clone(),
                });
            }
        }
        let item = item.clone();
        events.push(EventBody::ItemDone { output_index, item });
        self.is_open = false;
    }
}

fn message_done(id: &str, output_index: usize, part: &OutputText) -> [EventBody; 2] {
    [
        EventBody::TextDone {
            item_id: id.to_owned(),
            output_index,
            content_index: 0,
            text: part.text.clone(),
            logprobs: part.logprobs.clone(),
        },
        EventBody::PartDone {
            item_id: id.to_owned(),
            output_index,
            content_index: 0,
            part: part.clone(),
        },
    ]
}

fn item_id(prefix: &str) -> String {
    format!("{prefix}_{}", Uuid::new_v4().simple())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Types of the events of these pieces, and the items they leave.
    fn told(pieces: Vec<Piece>, status: ResponseStatus) -> (Vec<String>, Vec<Value>) {
        let (mut output, mut events) = (Output::default(), Vec::new());
        for piece in pieces {
            output.push(piece, vec![], &mut events);
        }
        output.end(status, &mut events);
        let kind = |event: &EventBody| {
            let event = serde_json::to_value(event).expect("plain data");
            let kind = event["type"].as_str().expect("a type");
            kind.trim_start_matches("response.").to_owned()
        };
        let item = |item: &OutputItem| {
            let mut item = serde_json::to_value(item).expect("plain data");
            item.as_object_mut().expect("an object").remove("id");
            item
        };
        let items = output.items().iter().map(item).collect();
        (events.iter().map(kind).collect(), items)
    }

    fn text(text: &str) -> Piece {
        Piece::Text(text.into())
    }

    fn message(text: &str, status: &str) -> Value {
        let part = json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []});
        json!({"type": "message", "role": "assistant", "status": status, "content": [part]})
    }

    #[test]
    fn words_are_one_message() {
        let (events, items) = told(vec![text("a"), text("b")], ResponseStatus::Completed);
        let expected = [
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
        ];
        assert_eq!(events, expected);
        assert_eq!(items, [message("ab", "completed")]);
    }

    #[test]
    fn a_call_ends_the_message_before_it() {
        let call = |index: usize| Piece::Call {
            index,
            id: format!("call_{index}"),
            name: "f".into(),
        };
        let arguments = |index, json: &str| Piece::Arguments {
            index,
            json: json.into(),
        };
        let pieces = vec![
            text("hm"),
            call(0),
            arguments(0, "{"),
            arguments(0, "}"),
            call(1),
            arguments(1, "{\"a\""),
        ];
        let (events, items) = told(pieces, ResponseStatus::Incomplete);
        let expected = [
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
        ];
        assert_eq!(events, expected);
        let call = |id: &str, arguments: &str, status: &str| {
            json!({"type": "function_call", "call_id": id, "name": "f",
                   "arguments": arguments, "status": status})
        };
        let expected = [
            message("hm", "completed"),
            call("call_0", "{}", "completed"),
            call("call_1", "{\"a\"", "incomplete"),
        ];
        assert_eq!(items, expected);
    }

    #[test]
    fn an_empty_answer_is_an_empty_message() {
        let (events, items) = told(vec![], ResponseStatus::Completed);
        assert_eq!(events.first().expect("events"), "output_item.added");
        assert_eq!(items, [message("", "completed")]);
    }
}
