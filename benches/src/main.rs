//! Load generator: runs scenarios against a server and prints one JSON line for each.
//!
//! `text-generation-bench all --launcher path/to/text-generation-launcher` starts what it needs on
//! free ports and ends it again; `--url` measures a server that already runs.

mod args;
mod drive;
mod launch;
mod metrics;
mod report;
mod scenario;
mod threads;

use anyhow::Result;
use clap::Parser;
use text_generation_benchmark::{client, prompt, stats};

#[tokio::main]
async fn main() -> Result<()> {
    scenario::run(&args::Args::parse()).await
}
