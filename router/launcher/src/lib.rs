//! The launcher: resolves the configuration, supervises the shards, serves the router.
//!
//! It owns the processes and the run directory. It knows nothing about models or requests: what it
//! says about the model it learns from the shard once that is ready.

pub mod announce;
pub mod args;
pub mod child;
pub mod environment;
pub mod error;
pub mod parse;
pub mod print_config;
mod ranges;
pub mod resolve;
pub mod run_dir;
pub mod signals;
pub mod supervise;
mod tail;
mod tgi;

#[cfg(test)]
mod reference;
