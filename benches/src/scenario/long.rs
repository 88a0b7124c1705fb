//! A long conversation on the oracle: what a warm turn costs, part by part.
//!
//! The parts as they can be seen from outside, in the order in which a request meets them:
//! - read: the round trip of the same body when validation refuses it, before any tokenization;
//! - tokenize: from the parsed request to its submission;
//! - dispatch and match: from submission to the first scheduled step (queue, wire, prefix match);
//! - step: from there to the first token;
//! - encode: what the parts above leave of the time to first token (detokenization, SSE, HTTP).

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{Target, millis, point};
use crate::client::{Client, Run};
use crate::metrics::{CpuTime, Scrape};
use crate::stats::{Summary, rounded};

const PROMPT_TOKENS: [usize; 4] = [25_000, 50_000, 100_000, 200_000];
const ANSWER_TOKENS: usize = 1;
const TURN_TOKENS: usize = 32;

/// One point for each length.
///
/// # Errors
/// When the server fails a request.
pub(super) async fn measure(target: &mut Target, repeats: u32) -> Result<Vec<Value>> {
    let mut points = vec![];
    for tokens in PROMPT_TOKENS {
        points.push(conversation(target, tokens, repeats).await?);
    }
    Ok(points)
}

async fn conversation(target: &mut Target, tokens: usize, repeats: u32) -> Result<Value> {
    let mut history = target.prompts.next(tokens);
    let cold = generate(&target.client, &history).await?;
    history.push_str(&cold.end.text);
    let mut turns = vec![];
    for _ in 0..repeats {
        history.push_str(&target.prompts.next(TURN_TOKENS));
        let (turn, answer) = Turn::measure(target, &history).await?;
        turns.push(turn);
        history.push_str(&answer);
    }
    let facts = json!({
        "prompt_tokens": tokens, "new_tokens": TURN_TOKENS,
        "cold_ttft_ms": rounded(millis(cold.ttft)),
    });
    Ok(point(facts, figures(&turns)))
}

async fn generate(client: &Client, prompt: &str) -> Result<Run> {
    client.generate(prompt, ANSWER_TOKENS).await?.finish().await
}

/// Milliseconds of one warm turn.
#[derive(Debug, Clone, Copy)]
struct Turn {
    ttft: f64,
    read: f64,
    tokenize: f64,
    dispatch_match: f64,
    step: f64,
    encode: f64,
    router_cpu: f64,
    shard_cpu: f64,
}

impl Turn {
    async fn measure(target: &Target, prompt: &str) -> Result<(Self, String)> {
        let client = &target.client;
        let read = refused(client, prompt).await?;
        let cpu_before = cpu(target)?;
        let before = Scrape::of(client).await?;
        let run = generate(client, prompt).await?;
        let after = Scrape::of(client).await?;
        let cpu_after = cpu(target)?;
        let spent = |name: &str| Ok::<_, anyhow::Error>(after.since(&before, name)? * 1e3);
        ensure!(
            run.end.cached_tokens + 2 * TURN_TOKENS as u64 > run.end.prompt_tokens,
            "a turn of {} tokens found {} in the cache",
            run.end.prompt_tokens,
            run.end.cached_tokens
        );
        let (ttft, read) = (millis(run.ttft), millis(read));
        let tokenize = spent("tgi_request_validation_duration_sum")?;
        let dispatch_match = spent("tgi_request_queue_duration_sum")?;
        let step = spent("tgi_request_inference_duration_sum")?;
        let turn = Self {
            ttft,
            read,
            tokenize,
            dispatch_match,
            step,
            encode: ttft - read - tokenize - dispatch_match - step,
            router_cpu: millis(cpu_after.router.saturating_sub(cpu_before.router)),
            shard_cpu: millis(cpu_after.shards.saturating_sub(cpu_before.shards)),
        };
        Ok((turn, run.end.text))
    }
}

/// Round trip of a body that is read and parsed, and then refused for its temperature.
async fn refused(client: &Client, prompt: &str) -> Result<Duration> {
    let body = json!({"inputs": prompt, "parameters": {"temperature": -1.0}});
    let answer = client.post("/generate_stream", &body).await?;
    ensure!(
        answer.status.as_u16() == 422,
        "a temperature of -1 got {}",
        answer.status
    );
    Ok(answer.elapsed)
}

fn cpu(target: &Target) -> Result<CpuTime> {
    target.pid().map_or(Ok(CpuTime::default()), CpuTime::of)
}

fn figures(turns: &[Turn]) -> Value {
    let of = |part: fn(&Turn) -> f64| Summary::of(turns.iter().map(part).collect());
    json!({
        "warm_ttft_ms": of(|turn| turn.ttft),
        "read_ms": of(|turn| turn.read),
        "tokenize_ms": of(|turn| turn.tokenize),
        "dispatch_match_ms": of(|turn| turn.dispatch_match),
        "step_ms": of(|turn| turn.step),
        "dispatch_match_step_ms": of(|turn| turn.dispatch_match + turn.step),
        "encode_ms": of(|turn| turn.encode),
        "router_cpu_ms": of(|turn| turn.router_cpu),
        "shard_cpu_ms": of(|turn| turn.shard_cpu),
    })
}
