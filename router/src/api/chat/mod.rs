//! OpenAI's chat completions on a [`Conversation`](crate::api::conversation::Conversation).

pub mod chunks;
pub mod input;
pub mod job;
