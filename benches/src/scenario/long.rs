//! A long conversation on the oracle: what a warm turn costs, part by part.
//!
//! The parts as they can be seen from outside, in the order in which a request meets them:
//! - read: the round trip of the same body when validation refuses it, before any tokenization;
//! - tokenize: the header x-validation-time, from the parsed request to its submission;
//! - dispatch and match: the router's metric of the queue, from submission to the first scheduled
//!   step (queue, wire, prefix match);
//! - step: its metric of inference, from there to the first token;
//! - shard trip: its metric of the first token, from submission to the token's arrival: dispatch,
//!   match, step and the way back;
//! - encode: what read, tokenize and shard trip leave of the time to the answer; as tokenize is
//!   given in whole milliseconds, this is right to a millisecond.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Target, millis, point};
use crate::client::Client;
use crate::metrics::{CpuTime, Scrape};
use crate::stats::{Summary, rounded};

const PROMPT_TOKENS: [usize; 4] = [25_000, 50_000, 100_000, 200_000];
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
    let mut answer = cold.text;
    let mut turns = vec![];
    for _ in 0..repeats {
        history.push_str(&answer);
        history.push_str(&target.prompts.next(TURN_TOKENS));
        let (turn, text) = Turn::measure(target, &history).await?;
        turns.push(turn);
        answer = text;
    }
    let facts = json!({
        "prompt_tokens": tokens, "new_tokens": TURN_TOKENS,
        "cold_ttft_ms": rounded(millis(cold.elapsed)),
    });
    Ok(point(facts, figures(&turns)))
}

/// An answer of one token, whose time is that to the first token.
struct OneToken {
    text: String,
    elapsed: Duration,
    tokenize: f64,
    prompt_tokens: u64,
    cached_tokens: u64,
}

async fn generate(client: &Client, prompt: &str) -> Result<OneToken> {
    let body = json!({"inputs": prompt, "parameters": {"max_new_tokens": 1, "details": true}});
    let answer = client.post("/generate", &body).await?;
    let body = answer.json()?;
    let header = |name: &str| {
        let value = answer
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok());
        value
            .and_then(|value| value.parse().ok())
            .with_context(|| format!("the answer has no header {name}"))
    };
    Ok(OneToken {
        text: body["generated_text"].as_str().unwrap_or("").to_owned(),
        elapsed: answer.elapsed,
        tokenize: header("x-validation-time")? as f64,
        prompt_tokens: header("x-prompt-tokens")?,
        cached_tokens: body["details"]["cached_tokens"].as_u64().unwrap_or(0),
    })
}

/// Milliseconds of one warm turn.
#[derive(Debug, Clone, Copy)]
struct Turn {
    ttft: f64,
    read: f64,
    tokenize: f64,
    dispatch_match: f64,
    step: f64,
    shard_trip: f64,
    encode: f64,
    router_cpu: f64,
    shard_cpu: f64,
}

impl Turn {
    async fn measure(target: &Target, prompt: &str) -> Result<(Self, String)> {
        let client = &target.client;
        let read = millis(refused(client, prompt).await?);
        let before = (Scrape::of(client).await?, cpu(target)?);
        let answer = generate(client, prompt).await?;
        let after = (Scrape::of(client).await?, cpu(target)?);
        ensure!(
            answer.cached_tokens + 2 * TURN_TOKENS as u64 > answer.prompt_tokens,
            "a turn of {} tokens found {} in the cache",
            answer.prompt_tokens,
            answer.cached_tokens
        );
        let spent = |name: &str| Ok::<_, anyhow::Error>(after.0.since(&before.0, name)? * 1e3);
        let (ttft, tokenize) = (millis(answer.elapsed), answer.tokenize);
        let shard_trip = spent("tgi_time_to_first_token_sum")?;
        let turn = Self {
            ttft,
            read,
            tokenize,
            dispatch_match: spent("tgi_request_queue_duration_sum")?,
            step: spent("tgi_request_inference_duration_sum")?,
            shard_trip,
            encode: ttft - read - tokenize - shard_trip,
            router_cpu: millis(after.1.router.saturating_sub(before.1.router)),
            shard_cpu: millis(after.1.shards.saturating_sub(before.1.shards)),
        };
        Ok((turn, answer.text))
    }
}

/// Round trip of a body that is read and parsed, and then refused for its temperature.
async fn refused(client: &Client, prompt: &str) -> Result<Duration> {
    let body = json!({"inputs": prompt, "parameters": {"temperature": -1.0}});
    let answer = client.post("/generate", &body).await?;
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
        "shard_trip_ms": of(|turn| turn.shard_trip),
        "encode_ms": of(|turn| turn.encode),
        "router_cpu_ms": of(|turn| turn.router_cpu),
        "shard_cpu_ms": of(|turn| turn.shard_cpu),
    })
}
