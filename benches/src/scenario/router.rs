//! The router alone, with a mock shard, against its goals: what validation, tokenization, queue, wire
//! and encoding cost together.
//!
//! Rates and times: router, mock shard, a bare HTTP server that answers the same bytes, and the load
//! generator share this process and its threads, and the two servers take turns in short windows, so
//! that both see the same machine. Memory: the router is a process of its own.

mod goal;
mod idle;
mod load;
mod servers;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use serde_json::{Value, json};
use text_generation_router::api::tokenizer::{Specials, Tokenizer};
use text_generation_router::mock_shard::{Answer, MockShard, Options, tokenizer_json};

use super::{millis, point};
use crate::client::Client;
use crate::report::Report;
use crate::stats::{Summary, rounded};
use goal::Goal;
use load::{Outcome, Request};

/// Windows of each server and measured point, for each repeat.
const WINDOWS: u32 = 6;
const CONNECTIONS: usize = 32;
/// Tokens of the prompt: one a byte with the mock's tokenizer.
const PROMPT_TOKENS: usize = 100;
/// Encodings of the prompt that are timed.
const ENCODINGS: usize = 2000;

/// One point for each goal.
///
/// # Errors
/// When a server fails a request.
pub(super) async fn measure(repeats: u32, router: &Path) -> Result<Report> {
    // As in production: a shard of the same machine is reached over a Unix socket.
    let folder = tempfile::tempdir()?;
    let options = Options::new(|_| Answer::tokens(vec![u32::from(b'a')]));
    let shard = MockShard::on_socket(&folder.path().join("shard.sock"), options)?;
    let url = servers::serve_router(shard.address()).await?;
    let windows = WINDOWS * repeats;
    let health = Pair::open(&url, Request::Health).await?;
    let generate = Pair::open(&url, Request::Generate(body())).await?;
    let mut points = vec![ratio(&health, windows, goal::HEALTH).await?];
    let rates = generate.rates(CONNECTIONS, windows).await?;
    let half = Summary::of(rates[0].rates.clone()).p50 / 2.0;
    let share = tokenization(&generate, windows).await?;
    points.push(point(rate_point(rates, goal::GENERATE), share));
    points.extend(generate.added(half, windows).await?);
    points.push(idle::measure(router).await?);
    let params = json!({
        "windows": windows, "window_ms": millis(load::WINDOW), "connections": CONNECTIONS,
        "prompt_tokens": PROMPT_TOKENS,
    });
    Ok(Report::new("router", params, points))
}

fn body() -> Bytes {
    let prompt: String = "A prompt of a usual length, in English. "
        .chars()
        .cycle()
        .take(PROMPT_TOKENS)
        .collect();
    let parameters = json!({"max_new_tokens": 1, "details": true});
    let body = json!({"inputs": prompt, "parameters": parameters});
    Bytes::from(body.to_string())
}

/// The router and a bare server that gives the same answer to a request.
struct Pair {
    request: Request,
    clients: [Client; 2],
}

impl Pair {
    async fn open(router: &str, request: Request) -> Result<Self> {
        let router = Client::new(router);
        let answer = request.send(&router).await?;
        let bare = Client::new(&servers::serve_bare(answer.body).await?);
        Ok(Self {
            request,
            clients: [router, bare],
        })
    }

    /// Both as fast as they go.
    async fn rates(&self, connections: usize, windows: u32) -> Result<[Outcome; 2]> {
        let mut outcomes = [Outcome::default(), Outcome::default()];
        for _ in 0..windows {
            for (client, outcome) in self.clients.iter().zip(&mut outcomes) {
                outcome.add(load::busy(client, &self.request, connections).await?);
            }
        }
        Ok(outcomes)
    }

    /// What the router adds to the time of a request at so many a second.
    async fn added(&self, per_second: f64, windows: u32) -> Result<[Value; 2]> {
        let mut outcomes = [Outcome::default(), Outcome::default()];
        for _ in 0..windows {
            for (client, outcome) in self.clients.iter().zip(&mut outcomes) {
                outcome.add(load::paced(client, &self.request, CONNECTIONS, per_second).await?);
            }
        }
        let [router, bare] = outcomes.map(|outcome| Summary::of(outcome.times));
        let facts =
            json!({"per_second": rounded(per_second), "router_ms": router, "bare_ms": bare});
        Ok([
            point(goal::ADDED_P50.point(router.p50 - bare.p50), facts.clone()),
            point(goal::ADDED_P99.point(router.p99 - bare.p99), facts),
        ])
    }
}

async fn ratio(pair: &Pair, windows: u32, goal: Goal) -> Result<Value> {
    Ok(rate_point(pair.rates(CONNECTIONS, windows).await?, goal))
}

fn rate_point([router, bare]: [Outcome; 2], goal: Goal) -> Value {
    let [router, bare] = [Summary::of(router.rates), Summary::of(bare.rates)];
    let facts = json!({"router_per_second": router, "bare_per_second": bare});
    point(goal.point(router.p50 / bare.p50), facts)
}

/// The share of tokenization in a request's time, one request at a time.
async fn tokenization(generate: &Pair, windows: u32) -> Result<Value> {
    let [router, _] = generate.rates(1, windows).await?;
    let tokenizer = Tokenizer::from_bytes(&tokenizer_json(), 2)?;
    let mut times = vec![];
    for _ in 0..ENCODINGS {
        let prompt = "a".repeat(PROMPT_TOKENS);
        let began = Instant::now();
        tokenizer.encode(prompt, Specials::Add).await?;
        times.push(millis(began.elapsed()));
    }
    let [request, tokenize] = [router.times, times].map(Summary::of);
    Ok(json!({
        "one_request_ms": request, "tokenize_ms": tokenize,
        "tokenization_share": rounded(tokenize.p50 / request.p50),
    }))
}

/// A quiet moment, in which what was started settles.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(2)).await;
}
