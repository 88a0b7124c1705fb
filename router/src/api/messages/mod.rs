//! Anthropic's Messages on a [`Conversation`](crate::api::conversation::Conversation): content
//! blocks to messages, the answer to blocks, and the events that tell of them.

pub mod input;
pub mod output;
