//! The HTTP surface: one file per endpoint in `routes`, over the parts they share.
//!
//! A handler extracts, validates, tokenizes and submits, and hands the answers to an encoder.

pub mod answer;
pub mod auth;
pub(crate) mod browsers;
pub mod chat;
pub mod completion;
pub mod conversation;
pub mod detokenize;
pub mod extract;
pub mod messages;
pub mod native;
pub mod openai;
pub mod openapi;
pub mod prompt;
pub mod responses;
pub mod routes;
pub mod sse;
pub mod stop;
pub mod template;
pub mod timing;
pub mod tokenizer;
pub mod types;
pub mod validate;
pub mod writer;
