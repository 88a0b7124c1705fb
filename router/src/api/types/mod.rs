//! What travels over HTTP, one file per family. Requests are as sent: every optional field is an
//! `Option`, so that `null` equals absent, and nothing is checked beyond its type; `validate` turns
//! them into decisions. Unknown fields are ignored.

pub mod chat;
pub mod completion;
mod described;
pub mod error;
pub mod grammar;
pub mod hosts;
pub mod info;
pub mod message_object;
pub mod messages;
pub mod native;
pub mod openai;
pub mod response_object;
pub mod responses;
