//! A conversation as the model's prompt.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value;

use super::format::{HERMES, ToolFormat};
use super::reader::{Calls, Reader};
use super::{Conversation, Ending, Message, Tool, ToolChoice, generic};
use crate::api::template::{self, ChatTemplate};
use crate::api::validate::invalid;
use crate::config::Limits;
use crate::error::ApiError;
use crate::limits::LimitName;
use crate::model::Model;

/// Calls that one answer may hold when they are forced.
const MOST_FORCED_CALLS: usize = 16;

/// Bytes of a tool's name, as at Anthropic; OpenAI takes 64.
const MOST_NAME_BYTES: usize = 128;

/// A prompt, and how its answers are to be read.
#[derive(Debug)]
pub struct Turn {
    /// The prompt's text, special tokens included.
    pub text: String,
    /// What every answer must be: a JSON schema.
    pub forced: Option<Value>,
    /// Special tokens that are part of an answer's text.
    pub marks: Vec<u32>,
    calls: Option<Calls>,
}

impl Turn {
    /// A reader for one answer.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(self.calls.clone())
    }
}

impl Conversation {
    /// The conversation's prompt.
    ///
    /// # Errors
    /// When there are too many messages or none, the choice names no tool, the model has no
    /// template, or the template refuses the messages.
    pub fn render(mut self, model: &Model, limits: &Limits) -> Result<Turn, ApiError> {
        self.check_sizes(limits)?;
        self.check_choice()?;
        self.check_ending()?;
        if self.choice == ToolChoice::None {
            self.tools.clear();
        }
        let template = model.template.as_ref().ok_or_else(|| {
            let reason = "the model has no chat template; use /v1/completions or /generate";
            ApiError::TemplateError {
                message: reason.to_owned(),
                limit: None,
            }
        })?;
        let format = template.tool_format().unwrap_or(&HERMES);
        let calls = self.calls(format);
        let forced = calls
            .as_ref()
            .filter(|calls| calls.forced)
            .map(|_| self.forced_schema(format));
        let marks = calls.as_ref().filter(|calls| !calls.forced);
        Ok(Turn {
            forced,
            marks: marks.map_or_else(Vec::new, |_| model.tokenizer.special_ids_of(format.open)),
            text: self.text(template)?,
            calls,
        })
    }

    fn check_sizes(&self, limits: &Limits) -> Result<(), ApiError> {
        let (count, most) = (self.messages.len(), limits.max_messages);
        if count == 0 {
            let message = format!("messages must have 1 to {most} entries, got 0");
            return Err(invalid("messages", message));
        }
        if count > most {
            let message = format!("messages must have 1 to {most} entries, got {count}");
            return Err(ApiError::beyond(LimitName::Messages, "messages", message));
        }
        let (count, most) = (self.tools.len(), limits.max_tools);
        if count > most {
            let message = format!("tools must have at most {most} entries, got {count}");
            return Err(ApiError::beyond(LimitName::Tools, "tools", message));
        }
        if let Some(tool) = self.tools.iter().find(|tool| !is_name(&tool.name)) {
            let message = format!(
                "a tool's name must have 1 to {MOST_NAME_BYTES} letters, digits, _ and -, got {:?}",
                tool.name
            );
            return Err(invalid("tools", message));
        }
        let bytes = |tool: &Tool| tool.definition().to_string().len();
        let (bytes, most) = (
            self.tools.iter().map(bytes).sum::<usize>(),
            limits.max_tool_bytes,
        );
        if bytes > most {
            let message = format!("tools must have at most {most} bytes together, got {bytes}");
            return Err(ApiError::beyond(LimitName::ToolBytes, "tools", message));
        }
        Ok(())
    }

    fn check_choice(&self) -> Result<(), ApiError> {
        let problem = match &self.choice {
            ToolChoice::Required if self.tools.is_empty() => {
                "tool_choice is \"required\", but there are no tools; send tools".to_owned()
            }
            ToolChoice::Named(name) if !self.tools.iter().any(|tool| tool.name == *name) => {
                format!("tool_choice names {name:?}, which is none of the tools")
            }
            _ => return Ok(()),
        };
        Err(invalid("tool_choice", problem))
    }

    fn check_ending(&self) -> Result<(), ApiError> {
        let last = self
            .messages
            .last()
            .and_then(|last| last.content.as_deref());
        let is_blank = last.unwrap_or_default().trim().is_empty();
        if self.ending == Ending::Continue && is_blank {
            let message = "continue_final_message needs a last message with a text";
            return Err(invalid("continue_final_message", message));
        }
        Ok(())
    }

    /// What a reader is to look for; `None` without tools.
    fn calls(&self, format: &'static ToolFormat) -> Option<Calls> {
        let names: HashSet<String> = self.tools.iter().map(|tool| tool.name.clone()).collect();
        (!names.is_empty()).then(|| Calls {
            format,
            names: Arc::new(names),
            forced: self.choice != ToolChoice::Auto,
        })
    }

    fn forced_schema(&self, format: &ToolFormat) -> Value {
        match &self.choice {
            ToolChoice::Named(name) => {
                let named = self.tools.iter().filter(|tool| tool.name == *name);
                format.forced_schema(named, 1)
            }
            _ => {
                let most = if self.parallel { MOST_FORCED_CALLS } else { 1 };
                format.forced_schema(self.tools.iter(), most)
            }
        }
    }

    fn text(mut self, template: &ChatTemplate) -> Result<String, ApiError> {
        if !template.knows_role("developer") {
            for message in &mut self.messages {
                if message.role == "developer" {
                    message.role = "system".to_owned();
                }
            }
        }
        let about = (self.ending, &self.variables);
        let rendered = if let Some(format) = template.tool_format() {
            let tools: Vec<_> = self.tools.iter().map(super::Tool::definition).collect();
            let messages = self.messages.into_iter();
            let messages: Vec<_> = messages.map(|message| native(message, format)).collect();
            template.render(&messages, &tools, about)?
        } else {
            let messages = generic::messages(self.messages, &self.tools, template.shows_system());
            template.render(&messages, &[], about)?
        };
        Ok(rendered)
    }
}

/// Whether a tool can have this name: templates and grammars write it as it is.
fn is_name(name: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (1..=MOST_NAME_BYTES).contains(&name.len()) && name.bytes().all(is_fit)
}

/// A message for a template that knows tools.
fn native(message: Message, format: &ToolFormat) -> template::Message {
    let id = |id: String| match format.id_chars {
        None => id,
        Some(chars) => short_id(&id, chars),
    };
    let calls: Vec<Value> = message
        .calls
        .into_iter()
        .map(|call| {
            let arguments = serde_json::from_str(&call.arguments);
            let arguments: Value = arguments.unwrap_or(Value::String(call.arguments));
            serde_json::json!({
                "id": id(call.id), "type": "function",
                "function": {"name": call.name, "arguments": arguments},
            })
        })
        .collect();
    template::Message {
        role: message.role,
        content: message.content,
        name: message.name,
        tool_calls: (!calls.is_empty()).then_some(Value::Array(calls)),
        tool_call_id: message.tool_call_id.map(id),
    }
}

/// An id of exactly so many letters and digits that stands for `id`.
fn short_id(id: &str, chars: usize) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    let mut short = format!("{:0chars$x}", hasher.finish());
    short.truncate(chars);
    short
}
