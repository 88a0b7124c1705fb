//! Load generator for text generation servers: a client that times every token, prompts of exact
//! lengths, and conversations in parallel.
//!
//! The program `text-generation-benchmark` is its user; so are the scenarios of `benches/`.

pub mod args;
pub mod client;
pub mod load;
pub mod prompt;
pub mod report;
pub mod stats;
pub mod tally;
pub mod view;
