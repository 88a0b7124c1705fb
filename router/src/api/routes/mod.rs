//! One file per endpoint.

pub mod chat;
pub mod chat_tokenize;
pub mod compat;
pub mod completions;
pub mod embeddings;
pub mod generate;
pub mod generate_stream;
pub mod health;
pub mod info;
pub mod invocations;
pub mod messages;
pub mod metrics;
pub mod models;
pub mod playground;
pub mod responses;
pub mod tokenize;
pub mod vertex;
