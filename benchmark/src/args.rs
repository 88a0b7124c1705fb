//! The command line.

use std::time::Duration;

use clap::{Parser, value_parser};

use crate::load::{Bounds, Shape};

/// Measure a running text generation server with conversations in parallel.
///
/// Each stream of a level holds conversations: a first prompt, then turns that send the whole
/// history with new text. In a terminal the figures are shown live; `q` ends the run.
#[derive(Debug, Clone, Parser)]
#[command(name = "text-generation-benchmark", version, max_term_width = 100)]
pub struct Args {
    /// Address of the server.
    #[arg(long, default_value = "http://127.0.0.1:3000")]
    pub url: String,
    /// Key of the server, if it wants one. Prefer the environment variable: flags are visible to
    /// other users of the machine.
    #[arg(long, env, hide_env_values = true)]
    pub api_key: Option<String>,
    /// Streams at once, one level after the other.
    #[arg(long, short, value_delimiter = ',', default_value = "1,4,16", value_name = "N",
          value_parser = value_parser!(u32).range(1..=4096))]
    pub concurrency: Vec<u32>,
    /// Tokens of a conversation's first prompt, beside the shared prefix.
    #[arg(long, default_value_t = 512, value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub prompt_tokens: u32,
    /// Tokens at the start of every conversation, the same in all.
    #[arg(long, default_value_t = 0, value_parser = value_parser!(u32).range(0..=1_000_000))]
    pub shared_prefix_tokens: u32,
    /// Turns of a conversation.
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u32).range(1..=1000))]
    pub turns: u32,
    /// New tokens of each turn after the first.
    #[arg(long, default_value_t = 32, value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub turn_tokens: u32,
    /// Tokens of each answer.
    #[arg(long, default_value_t = 64, value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub output_tokens: u32,
    /// Seconds in which a level begins requests; 10 where --requests is not given either.
    #[arg(long, value_name = "SECONDS", value_parser = value_parser!(u64).range(1..=86_400))]
    pub duration: Option<u64>,
    /// Requests of a level.
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    pub requests: Option<u64>,
    /// Which texts are sent: other seeds find nothing of theirs in the server's cache.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Print one JSON object at the end, and nothing else.
    #[arg(long)]
    pub json: bool,
}

impl Args {
    /// What the conversations are.
    #[must_use]
    pub fn shape(&self) -> Shape {
        Shape {
            shared_prefix_tokens: self.shared_prefix_tokens as usize,
            prompt_tokens: self.prompt_tokens as usize,
            turns: self.turns,
            turn_tokens: self.turn_tokens as usize,
            output_tokens: self.output_tokens as usize,
            seed: self.seed,
        }
    }

    /// When a level ends.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        let default = self.requests.is_none().then_some(10);
        Bounds {
            requests: self.requests,
            duration: self.duration.or(default).map(Duration::from_secs),
        }
    }
}
