//! The line to the shard: one connection, the facts it tells, and the stream of requests.

mod client;
pub(crate) mod link;
pub(crate) mod session;
pub(crate) mod wire;
