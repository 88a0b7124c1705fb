//! The HTTP router: validate → tokenize → queue → dispatch → stream.
//!
//! `serve` owns the connections, `api` the routes, `dispatch` the queue and the requests in flight,
//! `shard` the link to the engine. A request walks `api` → [`model::Model::submit`] → `dispatch` →
//! shard, and comes back as the events of a [`generation::Generation`].

pub mod api;
pub mod app;
pub mod config;
pub mod dispatch;
pub mod error;
mod exchange;
pub mod generation;
pub mod grammar;
pub mod keys;
pub mod logging;
pub mod metrics;
#[cfg(feature = "mock-shard")]
pub mod mock_shard;
pub mod model;
mod outage;
mod queue;
mod rate;
pub mod request;
pub mod response_store;
pub mod serve;
mod shard;
mod trace;

/// The wire contract, generated from `proto/`.
pub mod pb {
    #![expect(
        missing_docs,
        reason = "generated; the documentation is in the proto file"
    )]
    #![allow(clippy::too_many_lines, reason = "generated")]
    tonic::include_proto!("text_generation_server.v1");
}

/// Version of the wire contract that this router speaks.
pub const PROTOCOL_VERSION: u32 = 4;
