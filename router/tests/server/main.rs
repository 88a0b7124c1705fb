//! The server against a scripted shard: order, bounds, cancellation, loss, connections.

mod cancel;
mod connections;
mod limits;
mod loss;
mod prefill;
mod rig;
mod shutdown;
mod streams;
