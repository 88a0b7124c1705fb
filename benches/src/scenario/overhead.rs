//! What a decode step costs beside its native call: the gap between two calls, and the CPU time of
//! every part that a token passes.
//!
//! Measured over the steady part of a run, when all streams decode and none has ended. One step
//! gives each stream one token, so the tokens that arrive count the steps.

use std::time::Instant;

use anyhow::{Context, Result};
use futures::stream::{SelectAll, Stream, try_unfold};
use futures::{StreamExt, TryStreamExt};
use serde_json::{Map, Value, json};

use super::Target;
use crate::client::TokenStream;
use crate::metrics::Scrape;
use crate::stats::{Summary, rounded};
use crate::threads::Parts;

/// Streams, and tokens of each answer: some seconds of decoding.
const POINTS: [(usize, usize); 2] = [(1, 800), (32, 200)];
const PROMPT_TOKENS: usize = 64;
/// Tokens of each answer, at both ends of the run, that are not of its steady part.
const UNSTEADY_TOKENS: usize = 24;

/// One point for each number of streams.
///
/// # Errors
/// When the server fails a request, or is not one that this program started.
pub(super) async fn measure(target: &mut Target, repeats: u32) -> Result<Vec<Value>> {
    let mut points = vec![];
    for (streams, answer_tokens) in POINTS {
        let mut steps = vec![];
        for _ in 0..repeats {
            steps.push(Step::measure(target, streams, answer_tokens).await?);
        }
        points.push(json!({
            "streams": streams, "prompt_tokens": PROMPT_TOKENS, "answer_tokens": answer_tokens,
            "steps": answer_tokens - 2 * UNSTEADY_TOKENS,
            "wall_us": figures(&steps, WALL), "cpu_us": figures(&steps, CPU),
            "cpu_shares": shares(&steps),
        }));
    }
    Ok(points)
}

type Part = (&'static str, fn(&Step) -> f64);

const WALL: [Part; 3] = [
    ("step", |step| step.wall),
    ("native_call", |step| step.native_call),
    ("gap", |step| step.gap),
];
const CPU: [Part; 5] = [
    ("native_call", |step| {
        step.cpu.engine + step.cpu.compute - step.gap_cpu
    }),
    ("engine", |step| step.gap_cpu),
    ("grpc", |step| step.cpu.grpc),
    ("router", |step| step.cpu.router),
    ("load_generator", |step| step.cpu.load_generator),
];

fn figures<const N: usize>(steps: &[Step], parts: [Part; N]) -> Value {
    let summary = |part: fn(&Step) -> f64| Summary::of(steps.iter().map(part).collect());
    let all: Map<_, _> = parts
        .into_iter()
        .map(|(name, part)| (name.to_owned(), json!(summary(part))))
        .collect();
    all.into()
}

/// Of the CPU time of all parts and repeats together.
fn shares(steps: &[Step]) -> Value {
    let sum = |part: fn(&Step) -> f64| steps.iter().map(part).sum::<f64>();
    let total: f64 = CPU.into_iter().map(|(_, part)| sum(part)).sum();
    let all: Map<_, _> = CPU
        .into_iter()
        .map(|(name, part)| (name.to_owned(), json!(rounded(sum(part) / total))))
        .collect();
    all.into()
}

/// Means over the steady part of one run, in microseconds a step.
#[derive(Debug, Clone, Copy)]
struct Step {
    /// From one token of a stream to its next.
    wall: f64,
    /// Within the executor.
    native_call: f64,
    /// From the end of a call of the executor to the start of the next.
    gap: f64,
    /// CPU time of the engine's thread in the gap.
    gap_cpu: f64,
    cpu: Parts,
}

impl Step {
    async fn measure(target: &mut Target, streams: usize, answer_tokens: usize) -> Result<Self> {
        let mut arrivals = SelectAll::new();
        for _ in 0..streams {
            let prompt = target.prompts.next(PROMPT_TOKENS);
            let stream = target.client.generate(&prompt, answer_tokens).await?;
            arrivals.push(Box::pin(tokens(stream)));
        }
        let steps = answer_tokens - 2 * UNSTEADY_TOKENS;
        skip(&mut arrivals, streams * UNSTEADY_TOKENS).await?;
        let before = Reading::of(target).await?;
        skip(&mut arrivals, streams * steps).await?;
        let after = Reading::of(target).await?;
        while arrivals.try_next().await?.is_some() {}
        after.since(&before, steps as f64)
    }
}

/// The tokens of an answer, one item each.
fn tokens(stream: TokenStream) -> impl Stream<Item = Result<()>> {
    try_unfold(Some(stream), |stream| async {
        let Some(mut stream) = stream else {
            return Ok(None);
        };
        let last = stream.next().await?.end.is_some();
        Ok(Some(((), (!last).then_some(stream))))
    })
}

async fn skip<S>(arrivals: &mut S, tokens: usize) -> Result<()>
where
    S: Stream<Item = Result<()>> + Unpin,
{
    for _ in 0..tokens {
        arrivals
            .next()
            .await
            .context("the answers ended too early")??;
    }
    Ok(())
}

/// What the counters show at one moment.
struct Reading {
    at: Instant,
    cpu: Parts,
    scrape: Scrape,
}

impl Reading {
    async fn of(target: &Target) -> Result<Self> {
        let pid = target
            .pid()
            .context("threads can be told apart only in a server started here: leave --url out")?;
        Ok(Self {
            at: Instant::now(),
            cpu: Parts::of(pid)?,
            scrape: Scrape::of(&target.client).await?,
        })
    }

    fn since(&self, earlier: &Self, steps: f64) -> Result<Step> {
        let counted = |name| self.scrape.since(&earlier.scrape, name);
        // The shard reports a few times a second: its counters are of steps of their own number.
        let (counted_steps, gaps) = (counted("tgi_steps")?, counted("tgi_gaps")?);
        Ok(Step {
            wall: (self.at - earlier.at).as_secs_f64() * 1e6 / steps,
            native_call: counted("tgi_execute_microseconds")? / counted_steps,
            gap: counted("tgi_gap_microseconds")? / gaps,
            gap_cpu: counted("tgi_gap_cpu_microseconds")? / gaps,
            cpu: self.cpu.a_step(&earlier.cpu, steps),
        })
    }
}
