//! A scripted shard: the wire contract without an engine, for tests and benches.
//!
//! It answers every request as its script says, keeps what it was told, and can be sick, stingy or
//! dead on demand.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic_health::pb::health_server::HealthServer;

use crate::pb;
use crate::pb::engine_server::EngineServer;

mod config;
mod engine;
mod model;
mod service;

pub use config::config;
pub use model::{info, tokenizer_json};

use service::Service;

/// What decides how a request is answered.
pub type Script = Arc<dyn Fn(&pb::Request) -> Answer + Send + Sync>;

/// How one request is answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// From the admission to the first token.
    pub wait: Duration,
    /// From one token to the next.
    pub pace: Duration,
    /// What is told before the first token, at once.
    pub before: Vec<pb::Step>,
    /// Token ids, in order.
    pub tokens: Vec<u32>,
    /// Log probability of every token.
    pub logprob: f32,
    /// What comes after the tokens, unless a limit or a stop token of the request ends it before.
    pub end: End,
    /// Prompt tokens that the receipt says were cached.
    pub cached_tokens: u32,
    /// Whether a cancel is left unheard.
    pub ignores_cancel: bool,
}

/// What comes after the tokens of an [`Answer`].
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// A completion because of the length.
    Length,
    /// The tokens again, until a limit of the request.
    Repeat,
    /// An error.
    Error(pb::Error),
    /// Nothing.
    Hang,
    /// The end of the whole stream.
    BreakStream,
    /// A token with an index that is not the next one.
    IndexGap,
}

impl Answer {
    /// These tokens, as fast as they can be sent.
    #[must_use]
    pub fn tokens(tokens: Vec<u32>) -> Self {
        Self {
            wait: Duration::ZERO,
            pace: Duration::ZERO,
            before: vec![],
            tokens,
            logprob: -0.5,
            end: End::Length,
            cached_tokens: 0,
            ignores_cancel: false,
        }
    }

    /// One token again and again, until a limit of the request.
    #[must_use]
    pub fn endless(token: u32) -> Self {
        Self {
            end: End::Repeat,
            ..Self::tokens(vec![token])
        }
    }
}

/// What a mock shard is.
#[derive(Clone)]
pub struct Options {
    /// What `Info` answers.
    pub info: pb::EngineInfo,
    /// What `Assets` answers: names and contents.
    pub assets: Vec<(String, Vec<u8>)>,
    /// How requests are answered.
    pub script: Script,
    /// The credit at the beginning.
    pub credit: u32,
}

impl Options {
    /// A shard of the built-in byte-level model that answers as `script` says.
    pub fn new(script: impl Fn(&pb::Request) -> Answer + Send + Sync + 'static) -> Self {
        Self {
            info: info(),
            assets: vec![("tokenizer.json".into(), tokenizer_json())],
            script: Arc::new(script),
            credit: 64,
        }
    }
}

/// What a shard was told and did, over all its streams.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Requests, in the order of their admission.
    pub requests: Vec<pb::Request>,
    /// Cancels, in order.
    pub cancels: Vec<pb::Cancel>,
    /// Most requests that were without a terminal event at one time.
    pub most_in_flight: usize,
    /// Streams opened.
    pub streams: usize,
}

/// State that calls and streams share.
struct Shared {
    options: Options,
    seen: Mutex<Seen>,
    credit: watch::Sender<u32>,
    serving: watch::Sender<bool>,
    dead: CancellationToken,
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// A running mock shard; dropping it kills it.
pub struct MockShard {
    address: String,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

impl MockShard {
    /// Listens on a Unix socket, in the place of any that was there.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn on_socket(path: &Path, options: Options) -> io::Result<Self> {
        if path.exists() {
            std::fs::remove_file(path)?;
        }
        let incoming = UnixListenerStream::new(UnixListener::bind(path)?);
        Ok(Self::start(
            format!("unix:{}", path.display()),
            options,
            |server, dead| {
                tokio::spawn(async move {
                    // Ends only by its death.
                    let _ = server
                        .serve_with_incoming_shutdown(incoming, dead.cancelled())
                        .await;
                })
            },
        ))
    }

    /// Listens on a free TCP port of the loopback interface.
    ///
    /// # Errors
    /// When there is none.
    pub async fn on_tcp(options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = format!("http://{}", listener.local_addr()?);
        let incoming = TcpListenerStream::new(listener);
        Ok(Self::start(address, options, |server, dead| {
            tokio::spawn(async move {
                // Ends only by its death.
                let _ = server
                    .serve_with_incoming_shutdown(incoming, dead.cancelled())
                    .await;
            })
        }))
    }

    fn start(
        address: String,
        options: Options,
        spawn: impl FnOnce(tonic::transport::server::Router, CancellationToken) -> JoinHandle<()>,
    ) -> Self {
        let shared = Arc::new(Shared {
            credit: watch::Sender::new(options.credit),
            serving: watch::Sender::new(true),
            seen: Mutex::default(),
            dead: CancellationToken::new(),
            options,
        });
        let service = Service(Arc::clone(&shared));
        let router = Server::builder()
            .add_service(EngineServer::new(service.clone()).max_decoding_message_size(16 << 20))
            .add_service(HealthServer::new(service));
        let server = spawn(router, shared.dead.clone());
        Self {
            address,
            shared,
            server,
        }
    }

    /// Where it answers, as a router's configuration says it.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What it was told and did until now.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.shared.seen().clone()
    }

    /// Grants another credit.
    pub fn set_credit(&self, credit: u32) {
        self.shared.credit.send_replace(credit);
    }

    /// Makes the health check say that it serves, or not.
    pub fn set_serving(&self, serving: bool) {
        self.shared.serving.send_replace(serving);
    }

    /// Breaks its streams and stops listening.
    pub fn kill(&self) {
        self.shared.dead.cancel();
    }
}

impl Drop for MockShard {
    fn drop(&mut self) {
        self.kill();
        self.server.abort();
    }
}
