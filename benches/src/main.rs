//! Load generator: runs scenarios against a server and prints one JSON line for each.
//!
//! `text-generation-bench all --launcher path/to/text-generation-launcher` starts what it needs on
//! free ports and ends it again; `--url` measures a server that already runs.

mod args;
mod client;
mod drive;
mod launch;
mod metrics;
mod prompt;
mod report;
mod scenario;
mod stats;
mod threads;

use anyhow::Result;
use clap::Parser;

#[tokio::main]
async fn main() -> Result<()> {
    scenario::run(&args::Args::parse()).await
}
