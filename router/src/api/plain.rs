//! A conversation in words alone: messages become a prompt, and what the model says stays text.
//! Calls of tools have their types here and are refused.

use crate::api::template;
use crate::api::validate::invalid;
use crate::config::Limits;
use crate::error::ApiError;
use crate::model::Model;

/// Messages, tools and how to go on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conversation {
    /// What was said.
    pub messages: Vec<Message>,
    /// What the model may call.
    pub tools: Vec<Tool>,
    /// Whether it may, or has to.
    pub choice: ToolChoice,
    /// Whether one answer may hold several calls; counts where calls are forced.
    pub parallel: bool,
}

/// One message.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Message {
    /// "system", "developer", "user", "assistant", "tool" or what else the template knows.
    pub role: String,
    /// The text; `None` for assistant messages that only call tools.
    pub content: Option<String>,
    /// Name of the speaker or of the tool.
    pub name: Option<String>,
    /// Calls that the assistant made.
    pub calls: Vec<ToolCall>,
    /// The call that a tool's message answers.
    pub tool_call_id: Option<String>,
}

/// A function that the model may call.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// JSON schema of its arguments; `None` takes none.
    pub parameters: Option<serde_json::Map<String, serde_json::Value>>,
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// Unique.
    pub id: String,
    /// The tool.
    pub name: String,
    /// The arguments, as the JSON text that the model wrote.
    pub arguments: String,
}

/// The client's choice among the tools.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// The model decides.
    #[default]
    Auto,
    /// The model does not hear of the tools.
    None,
    /// At least one call of any tool.
    Required,
    /// A call of this tool.
    Named(String),
}

/// A prompt, and how its answers are to be read.
#[derive(Debug)]
pub struct Turn {
    /// The prompt's text, special tokens included.
    pub text: String,
}

impl Turn {
    /// A reader for one answer.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader
    }
}

/// What an answer says next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Words to the user.
    Text(String),
    /// A call begins.
    Call {
        /// Which of the answer's calls, from 0.
        index: usize,
        /// Its id.
        id: String,
        /// The tool.
        name: String,
    },
    /// More of the arguments' JSON text of the call that began last.
    Arguments {
        /// Which of the answer's calls.
        index: usize,
        /// The text.
        json: String,
    },
}

/// Reads one answer.
#[derive(Debug)]
pub struct Reader;

impl Reader {
    /// Takes the next piece of the answer's text.
    pub fn push(&mut self, text: &str) -> Vec<Piece> {
        let words = Some(text).filter(|text| !text.is_empty());
        words
            .map(|text| Piece::Text(text.to_owned()))
            .into_iter()
            .collect()
    }

    /// What was held back, when no text follows.
    pub fn finish(&mut self) -> Vec<Piece> {
        vec![]
    }
}

impl Conversation {
    /// The conversation's prompt.
    ///
    /// # Errors
    /// When there are too many messages or none, tools are sent, the model has no template, or the
    /// template refuses the messages.
    pub fn render(self, model: &Model, limits: &Limits) -> Result<Turn, ApiError> {
        let (count, most) = (self.messages.len(), limits.max_messages);
        if count == 0 || count > most {
            let message = format!("messages must have 1 to {most} entries, got {count}");
            return Err(invalid("messages", message));
        }
        let calls = self
            .messages
            .iter()
            .any(|message| !message.calls.is_empty());
        if calls || !self.tools.is_empty() {
            let message = "tools is not supported by this version; leave it out";
            return Err(invalid("tools", message));
        }
        let template = model.template.as_ref().ok_or_else(|| {
            let reason = "the model has no chat template; use /v1/completions or /generate";
            ApiError::TemplateError(reason.to_owned())
        })?;
        let messages: Vec<_> = self.messages.into_iter().map(Message::plain).collect();
        let text = template.render(&messages)?;
        Ok(Turn { text })
    }
}

impl Message {
    fn plain(self) -> template::Message {
        template::Message {
            role: self.role,
            content: self.content,
            name: self.name,
            tool_calls: None,
            tool_call_id: self.tool_call_id,
        }
    }
}
