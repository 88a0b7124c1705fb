//! A conversation and its continuation, whatever the route that carries them: messages, tools and
//! the client's choice among them become a prompt, and the model's text becomes the assistant's
//! words and calls. Routes translate their own shapes to and from the types here.
//!
//! ```text
//! Conversation --render--> Turn { text, .. } --reader--> Reader: text of the answer -> Piece ...
//! ```

use serde_json::{Map, Value};

mod call;
mod choice;
mod format;
mod generic;
mod reader;
mod render;

pub use format::ToolFormat;
pub use reader::{Piece, Reader, Reply};
pub use render::Turn;

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
    /// How the prompt ends.
    pub ending: Ending,
    /// What the template is told beside messages and tools. A render takes fuel, so that they cost
    /// no more than messages of their size.
    pub variables: Map<String, Value>,
}

/// How a conversation's prompt ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ending {
    /// With a last text of the assistant left open, or else where a message of its begins.
    #[default]
    Auto,
    /// With the last message left open, whose ever it is.
    Continue,
    /// Where a message of the assistant begins.
    Begin,
    /// With the end of the last message.
    Closed,
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
    pub parameters: Option<Map<String, Value>>,
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
