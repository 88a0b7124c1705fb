//! OpenAI's completions: prompts as they are sent, and their answers as choices and chunks.

pub mod chunks;
pub mod output;
pub mod source;
