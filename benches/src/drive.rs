//! Answers the runs that standard input asks for, so that this server can be compared with other
//! engines: one JSON line each way, as `benches/peers/adapters/wire.py` describes.

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use serde::{Deserialize, Serialize};

use crate::client::Client;
use crate::launch::Server;

/// What the server is started with.
#[derive(Debug, Deserialize)]
struct Settings {
    model: String,
    threads: u32,
    options: Options,
}

#[derive(Debug, Deserialize)]
struct Options {
    /// More flags of the launcher.
    flags: Vec<String>,
}

/// Prompts to answer at once.
#[derive(Debug, Deserialize)]
struct Order {
    prompts: Vec<Prompt>,
    new_tokens: usize,
}

#[derive(Debug, Deserialize)]
struct Prompt {
    text: String,
    tokens: Vec<u32>,
}

/// When each prompt's tokens came, in seconds since the run began.
#[derive(Debug, Serialize)]
struct Outcome {
    arrivals: Vec<Vec<f64>>,
}

/// Starts the server that the first line asks for and answers runs until the input ends.
///
/// # Errors
/// When the server cannot be started or fails a request, or a line is no order.
pub(crate) async fn run(launcher: &Path) -> Result<()> {
    let mut lines = std::io::stdin().lines();
    let first = lines.next().context("standard input has no settings")??;
    let settings: Settings = serde_json::from_str(&first)?;
    let server = start(launcher, &settings).await?;
    let client = Client::new(&server.url);
    answer(&client.get("/info").await?.json()?)?;
    for line in lines {
        let order = serde_json::from_str(&line?)?;
        answer(&measure(&client, &order).await?)?;
    }
    server.stop().await
}

async fn start(launcher: &Path, settings: &Settings) -> Result<Server> {
    let threads = settings.threads.to_string();
    let mut arguments = vec!["--model-id", &settings.model, "--num-threads", &threads];
    arguments.extend(settings.options.flags.iter().map(String::as_str));
    Server::start(launcher, &arguments).await
}

fn answer(line: &impl Serialize) -> Result<()> {
    Ok(writeln!(
        std::io::stdout(),
        "{}",
        serde_json::to_string(line)?
    )?)
}

async fn measure(client: &Client, order: &Order) -> Result<Outcome> {
    let began = Instant::now();
    let streams = order.prompts.iter().map(async |prompt| {
        let sent = began.elapsed();
        let stream = client.generate(&prompt.text, order.new_tokens).await?;
        let run = stream.finish().await?;
        ensure!(
            run.end.prompt_tokens == prompt.tokens.len() as u64,
            "the server made {} tokens of a prompt of {}: other engines would get another prompt",
            run.end.prompt_tokens,
            prompt.tokens.len()
        );
        let mut at = sent + run.ttft;
        let mut arrivals = vec![at.as_secs_f64()];
        arrivals.extend(run.gaps.iter().map(|gap| {
            at += *gap;
            at.as_secs_f64()
        }));
        Ok(arrivals)
    });
    Ok(Outcome {
        arrivals: try_join_all(streams).await?,
    })
}
