//! OpenAI's Responses on a [`Conversation`](crate::api::conversation::Conversation): items to
//! messages, the answer to items, and the events that tell of them.

pub mod input;
pub mod object;
pub mod output;
