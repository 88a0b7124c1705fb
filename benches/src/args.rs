//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Measure a text generation server; every scenario prints one JSON line.
#[derive(Debug, Clone, Parser)]
#[command(name = "text-generation-bench", version, max_term_width = 100)]
pub(crate) struct Args {
    /// What to measure.
    #[arg(value_enum)]
    pub(crate) scenario: Choice,
    /// Launcher that starts the servers to measure.
    #[arg(long, value_name = "PATH", default_value = "text-generation-launcher")]
    pub(crate) launcher: PathBuf,
    /// Router that `router` starts to read its memory.
    #[arg(long, value_name = "PATH", default_value = "text-generation-router")]
    pub(crate) router: PathBuf,
    /// A running server to measure instead, such as http://127.0.0.1:3000.
    #[arg(long)]
    pub(crate) url: Option<String>,
    /// Model of the started server; `long` takes its tokenizer from it.
    #[arg(long, default_value = "smollm2-135m-instruct")]
    pub(crate) model_id: String,
    /// Measurements of each point.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) repeats: u32,
    /// Threads of `limits`.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) threads: u16,
    /// More flags of the started server, after `--`.
    #[arg(last = true, value_name = "FLAGS")]
    pub(crate) flags: Vec<String>,
}

/// A scenario by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Choice {
    /// The next five, one after the other.
    All,
    /// Time to first token of cold prompts and of follow-up turns.
    Ttft,
    /// Time between tokens of one stream, alone and beside a long prompt.
    Itl,
    /// Tokens a second at 1, 8 and 32 streams.
    Throughput,
    /// Conversations of up to 200,000 tokens on the oracle: where a turn's time goes.
    Long,
    /// The router alone against its goals: rates and times beside a bare HTTP server, memory of idle
    /// streams.
    Router,
    /// Time between two native calls, and CPU time a step by part, at 1 and 32 streams.
    Overhead,
    /// What the machine can do: memory read and dot products made a second.
    Limits,
    /// Runs that standard input asks for: how `make bench-peers` measures this server.
    Drive,
}
