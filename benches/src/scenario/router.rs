//! Requests a second of the router with a mock shard, beside a bare HTTP server that answers the
//! same bytes: what validation, tokenization, queue, wire and encoding cost together.
//!
//! Router, mock shard, bare server and load generator share this process and its threads, and the
//! two servers take turns in short windows, so that both see the same machine.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::future::{pending, try_join_all};
use http::{Response, header};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use text_generation_router::config::{
    Dtype, EngineConfig, ExecutorKind, GrammarConfig, HttpLimits, KvCacheDtype, Limits,
    ModelConfig, RouterConfig, ServeConfig,
};
use text_generation_router::mock_shard::{Answer, MockShard, Options};
use text_generation_router::serve::{Readiness, Server};
use tokio::net::TcpListener;

use super::millis;
use crate::client::Client;
use crate::report::Report;
use crate::stats::{Summary, rounded};

const WINDOW: Duration = Duration::from_millis(500);
const WINDOWS: u32 = 6;
const CONNECTIONS: [usize; 2] = [1, 32];
const PROMPT: &str =
    "A prompt of a usual length for a short question to a model, in plain English.";

/// One point for each number of connections.
///
/// # Errors
/// When either server fails a request.
pub(super) async fn measure(repeats: u32) -> Result<Report> {
    // As in production: a shard of the same machine is reached over a Unix socket.
    let folder = tempfile::tempdir()?;
    let options = Options::new(|_| Answer::tokens(vec![u32::from(b'a')]));
    let shard = MockShard::on_socket(&folder.path().join("shard.sock"), options)?;
    let router = Client::new(&serve_router(shard.address()).await?);
    let body: Bytes = serde_json::to_vec(&json!({
        "inputs": PROMPT, "parameters": {"max_new_tokens": 1, "details": true},
    }))?
    .into();
    let answer = router.post_bytes("/generate", body.clone()).await?;
    answer.json()?;
    let bare = Client::new(&serve_bare(answer.body).await?);
    let windows = WINDOWS * repeats;
    let mut points = vec![];
    for connections in CONNECTIONS {
        let mut outcomes = [Outcome::default(), Outcome::default()];
        for _ in 0..windows {
            for (client, outcome) in [&router, &bare].into_iter().zip(&mut outcomes) {
                outcome.add(window(client, &body, connections).await?);
            }
        }
        points.push(point(connections, outcomes));
    }
    let params = json!({"windows": windows, "window_ms": millis(WINDOW)});
    Ok(Report::new("router", params, points))
}

/// Rates of all windows, and times of all requests.
#[derive(Debug, Default)]
struct Outcome {
    rates: Vec<f64>,
    times: Vec<f64>,
}

impl Outcome {
    fn add(&mut self, times: Vec<f64>) {
        self.rates.push(times.len() as f64 / WINDOW.as_secs_f64());
        self.times.extend(times);
    }
}

fn point(connections: usize, [router, bare]: [Outcome; 2]) -> Value {
    let rates = [Summary::of(router.rates), Summary::of(bare.rates)];
    let times = [Summary::of(router.times), Summary::of(bare.times)];
    json!({
        "connections": connections,
        "rate_ratio": rounded(rates[0].p50 / rates[1].p50),
        "added_ms": rounded(times[0].p50 - times[1].p50),
        "router_per_second": rates[0], "bare_per_second": rates[1],
        "router_ms": times[0], "bare_ms": times[1],
    })
}

/// Sends requests over so many connections for the time of a window; milliseconds of each.
async fn window(client: &Client, body: &Bytes, connections: usize) -> Result<Vec<f64>> {
    let end = Instant::now() + WINDOW;
    let connection = async || {
        let mut times = vec![];
        while Instant::now() < end {
            let answer = client.post_bytes("/generate", body.clone()).await?;
            ensure!(answer.status.is_success(), "status {}", answer.status);
            times.push(millis(answer.elapsed));
        }
        anyhow::Ok(times)
    };
    let times = try_join_all((0..connections).map(|_| connection())).await?;
    Ok(times.concat())
}

/// Answers every request with these bytes; where it answers.
async fn serve_bare(body: Bytes) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Without it the connection is only slower.
            let _ = stream.set_nodelay(true);
            let body = body.clone();
            let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let body = body.clone();
                async move {
                    // Read as the router does. A broken body ends the connection by itself.
                    let _ = request.into_body().collect().await;
                    let mut response = Response::new(Full::new(body));
                    let json = header::HeaderValue::from_static("application/json");
                    response.headers_mut().insert(header::CONTENT_TYPE, json);
                    Ok::<_, Infallible>(response)
                }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    });
    Ok(url)
}

/// Runs a router on the shard at `shard_address`, to the end of the process; where it answers.
async fn serve_router(shard_address: &str) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let server = Server::new(config(shard_address))?;
    let mut readiness = server.readiness();
    tokio::spawn(server.run(listener, pending()));
    readiness
        .wait_for(|readiness| *readiness == Readiness::Ready)
        .await
        .context("the router ended")?;
    Ok(url)
}

fn config(shard_address: &str) -> ServeConfig {
    ServeConfig {
        model: ModelConfig {
            model_id: "mock".to_owned(),
            revision: None,
            executor: ExecutorKind::Auto,
            dtype: Dtype::Auto,
            quantize: None,
            kv_cache_dtype: KvCacheDtype::Auto,
            tokenizer_config_path: None,
            hub_cache: None,
            cache_dir: None,
        },
        engine: EngineConfig {
            run_dir: PathBuf::new(),
            num_shard: 1,
            master_addr: String::new(),
            master_port: 0,
            max_input_tokens: None,
            max_total_tokens: None,
            max_batch_size: 128,
            max_batch_prefill_tokens: 512,
            max_batch_total_tokens: None,
            kv_memory_bytes: None,
            prefix_caching: true,
            page_tokens: None,
            num_threads: None,
        },
        router: RouterConfig {
            hostname: "127.0.0.1".to_owned(),
            port: 0,
            shard_address: shard_address.to_owned(),
            api_keys: vec![],
            api_keys_file: None,
            open_metrics: false,
            cors_allow_origin: vec![],
            limits: Limits::default(),
            http: HttpLimits::default(),
            otlp_endpoint: None,
            otlp_service_name: "test".into(),
            validation_workers: 2,
            watermark_gamma: 0.5,
            watermark_delta: 2.0,
            lame_duck: 0,
            graceful_termination_timeout: 1,
        },
        grammar: GrammarConfig::default(),
    }
}
