//! A server over a mock shard, with a client for it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use futures::StreamExt;
use reqwest::Response;
use serde_json::{Value, json};
use tempfile::TempDir;
use text_generation_router::config::RouterConfig;
use text_generation_router::generation::{Event, Generation};
use text_generation_router::mock_shard::{self, Answer, End, MockShard, Options};
use text_generation_router::model::AppState;
use text_generation_router::pb;
use text_generation_router::request::{Sampling, ValidRequest};
use text_generation_router::serve::{Readiness, ServeError, Server, Shutdown};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// No test waits longer than this for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(5);

pub(crate) struct Rig {
    pub(crate) address: SocketAddr,
    pub(crate) state: AppState,
    pub(crate) readiness: watch::Receiver<Readiness>,
    pub(crate) client: reqwest::Client,
    socket: PathBuf,
    shutdown: Option<oneshot::Sender<Shutdown>>,
    server: JoinHandle<Result<(), ServeError>>,
    _dir: TempDir,
}

/// A server without a shard.
pub(crate) async fn without_shard(tune: impl FnOnce(&mut RouterConfig)) -> Rig {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let socket = dir.path().join("shard-0.sock");
    let mut config = mock_shard::config(&format!("unix:{}", socket.display()));
    tune(&mut config.router);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let server = Server::new(config).expect("no file of keys");
    let (shutdown, stopped) = oneshot::channel();
    let (state, readiness) = (server.state(), server.readiness());
    let run = server.run(listener, async {
        stopped.await.unwrap_or(Shutdown::AtOnce)
    });
    Rig {
        address,
        state,
        readiness,
        client: reqwest::Client::new(),
        socket,
        shutdown: Some(shutdown),
        server: tokio::spawn(run),
        _dir: dir,
    }
}

/// A server with a shard that answers as `script` says.
pub(crate) async fn with_shard(
    tune: impl FnOnce(&mut RouterConfig),
    script: impl Fn(&pb::Request) -> Answer + Send + Sync + 'static,
) -> (Rig, MockShard) {
    with_options(tune, Options::new(script)).await
}

/// A server with a shard that answers as `script` says and takes `credit` requests at a time, from
/// the beginning.
pub(crate) async fn with_credit(
    credit: u32,
    tune: impl FnOnce(&mut RouterConfig),
    script: impl Fn(&pb::Request) -> Answer + Send + Sync + 'static,
) -> (Rig, MockShard) {
    let options = Options {
        credit,
        ..Options::new(script)
    };
    with_options(tune, options).await
}

async fn with_options(tune: impl FnOnce(&mut RouterConfig), options: Options) -> (Rig, MockShard) {
    let mut rig = without_shard(tune).await;
    let shard = rig.start_shard(options);
    rig.ready().await;
    (rig, shard)
}

/// A server with a shard that takes one request at a time, and the one that it holds.
pub(crate) async fn busy(
    tune: impl FnOnce(&mut RouterConfig),
    answer: Answer,
) -> (Rig, MockShard, Generation) {
    let (rig, shard) = with_credit(1, tune, move |_| answer.clone()).await;
    let held = rig.submit(1, 5);
    admitted(&shard, 1).await;
    (rig, shard, held)
}

/// Waits until so many requests have reached the shard since it started.
pub(crate) async fn admitted(shard: &MockShard, requests: usize) {
    until("the admission", || shard.seen().requests.len() == requests).await;
}

/// An answer that does not come.
pub(crate) fn hang() -> Answer {
    Answer {
        end: End::Hang,
        ..Answer::tokens(vec![])
    }
}

/// An answer of one token after the other, so many milliseconds apart.
pub(crate) fn paced(millis: u64) -> Answer {
    Answer {
        pace: Duration::from_millis(millis),
        ..Answer::endless(98)
    }
}

impl Rig {
    /// Starts a shard where the server looks for it.
    pub(crate) fn start_shard(&self, options: Options) -> MockShard {
        MockShard::on_socket(&self.socket, options).expect("the socket can be made")
    }

    pub(crate) async fn ready(&mut self) {
        self.turns(|now| *now == Readiness::Ready).await;
    }

    pub(crate) async fn turns(&mut self, wanted: impl FnMut(&Readiness) -> bool) {
        let turned = timeout(PATIENCE, self.readiness.wait_for(wanted)).await;
        turned
            .expect("the readiness turns")
            .expect("the server lives");
    }

    pub(crate) fn shut_down(&mut self) {
        self.end(Shutdown::AtOnce);
    }

    pub(crate) fn end(&mut self, how: Shutdown) {
        let _ = self.shutdown.take().expect("called once").send(how);
    }

    /// Waits until the server has ended.
    pub(crate) async fn ended(&mut self) {
        let ended = timeout(PATIENCE, &mut self.server)
            .await
            .expect("the server ends");
        ended.expect("no panic").expect("no error");
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.client
            .get(self.url(path))
            .send()
            .await
            .expect("an answer")
    }

    /// Statuses of `/health/live`, `/health/ready` and `/health/startup`, which have no body.
    pub(crate) async fn health(&self) -> [u16; 3] {
        let mut statuses = [0; 3];
        for (status, probe) in statuses.iter_mut().zip(["live", "ready", "startup"]) {
            let response = self.get(&format!("/health/{probe}")).await;
            *status = response.status().as_u16();
            assert_eq!(response.text().await.expect("a body"), "", "{probe}");
        }
        statuses
    }

    pub(crate) async fn post(&self, path: &str, inputs: &str, max_new_tokens: u32) -> Response {
        let body = body(inputs, max_new_tokens);
        self.client
            .post(self.url(path))
            .json(&body)
            .send()
            .await
            .expect("an answer")
    }

    /// Submits a request past HTTP.
    pub(crate) fn submit(&self, prompt_tokens: usize, max_new_tokens: u32) -> Generation {
        let model = self.state.model().expect("a model");
        model
            .submit(request(prompt_tokens, max_new_tokens))
            .expect("it is taken")
    }

    /// Waits until the server holds so many requests.
    pub(crate) async fn holds(&self, requests: usize) {
        until("the number of requests", || {
            self.state.model().expect("a model").requests() == requests
        })
        .await;
    }
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let poll = async {
        while !so() {
            sleep(POLL).await;
        }
    };
    timeout(PATIENCE, poll)
        .await
        .unwrap_or_else(|_| panic!("not so in time: {what}"));
}

pub(crate) fn body(inputs: &str, max_new_tokens: u32) -> Value {
    json!({"inputs": inputs, "parameters": {"max_new_tokens": max_new_tokens, "details": true}})
}

/// The events of a stream until it ends.
pub(crate) async fn events(response: Response) -> Vec<Value> {
    assert_eq!(response.status(), 200);
    let body = timeout(PATIENCE, response.text())
        .await
        .expect("it ends")
        .expect("it is text");
    let frames = body.lines().filter_map(|line| line.strip_prefix("data:"));
    frames
        .map(|data| serde_json::from_str(data).expect("JSON"))
        .collect()
}

/// Reads from a stream until `count` bytes came.
pub(crate) async fn read_some(response: Response, count: usize) {
    let mut body = response.bytes_stream();
    let mut read = 0;
    while read < count {
        read += body
            .next()
            .await
            .expect("more bytes")
            .expect("a live stream")
            .len();
    }
}

/// All events of a generation.
pub(crate) async fn collect(mut generation: Generation) -> Vec<Event> {
    let mut events = vec![];
    while let Some(event) = timeout(PATIENCE, generation.next()).await.expect("it ends") {
        events.push(event);
    }
    events
}

pub(crate) fn request(prompt_tokens: usize, max_new_tokens: u32) -> ValidRequest {
    ValidRequest {
        tokens: vec![97; prompt_tokens],
        max_new_tokens,
        sampling: Sampling {
            temperature: 0.0,
            ..Sampling::default()
        },
        stop_token_ids: vec![],
        top_n_tokens: 0,
        logit_bias: vec![],
        grammar: None,
        prompt_logprobs: false,
        progress: false,
    }
}
