//! Keeps the shard connected: finds it, learns what it serves, opens the stream of requests, watches
//! its health, and starts again when it is lost.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;

pub(crate) use super::client::endpoint;
use super::client::{ShardClient, ShardFault};
use crate::api::template::ChatTemplate;
use crate::api::tokenizer::Tokenizer;
use crate::config::ServeConfig;
use crate::dispatch::Dispatcher;
use crate::grammar::Grammars;
use crate::metrics;
use crate::model::{AppState, Model};
use crate::pb::EngineInfo;
use crate::request::Watermark;
use crate::serve::Readiness;

const TOKENIZER: &str = "tokenizer.json";
const TEMPLATE: &str = "chat_template.jinja";

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);
/// A shard that fails its health checks this long is given up, its stream with it.
const UNHEALTHY_LIMIT: Duration = Duration::from_secs(30);

/// The shard's line; one task.
pub(crate) struct Link {
    state: AppState,
    endpoint: Endpoint,
}

impl Link {
    pub(crate) fn new(state: AppState, endpoint: Endpoint) -> Self {
        Self { state, endpoint }
    }

    fn address(&self) -> &str {
        &self.state.config().router.shard_address
    }

    /// Connects for ever.
    pub(crate) async fn run(self) {
        let mut pause = FIRST_PAUSE;
        let mut reported = String::new();
        loop {
            let (was_ready, fault) = self.connect_once().await;
            if was_ready {
                pause = FIRST_PAUSE;
                reported.clear();
            }
            let fault = fault.to_string();
            self.not_ready(&fault);
            if fault != reported {
                tracing::info!("no shard at {}: {fault}", self.address());
                reported = fault;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// One connection from its beginning to its end. Returns whether requests were served on it.
    async fn connect_once(&self) -> (bool, ShardFault) {
        match self.open().await {
            Ok((client, end)) => {
                tracing::info!("shard connected at {}", self.address());
                let _guard = end.clone().drop_guard();
                (true, self.watch(&client, &end).await)
            }
            Err(fault) => (false, fault),
        }
    }

    /// Gets a shard to the point where requests flow. The token ends with their stream.
    async fn open(&self) -> Result<(ShardClient, CancellationToken), ShardFault> {
        let client = ShardClient::connect(&self.endpoint).await?;
        client.check_health().await?;
        let model = self.model(&client).await?;
        let end = CancellationToken::new();
        let session = client.serve(end.clone()).await?;
        model.dispatcher.attach(session).await;
        metrics::shard_connected();
        self.state.set_readiness(Readiness::Ready);
        Ok((client, end))
    }

    /// Watches the shard until its stream ends or it is sick for too long.
    async fn watch(&self, client: &ShardClient, end: &CancellationToken) -> ShardFault {
        let mut healthy_at = Instant::now();
        loop {
            tokio::select! {
                () = end.cancelled() => return ShardFault::StreamEnded,
                () = sleep(HEALTH_INTERVAL) => {}
            }
            match client.check_health().await {
                Ok(()) => {
                    healthy_at = Instant::now();
                    self.state.set_readiness(Readiness::Ready);
                }
                Err(fault) if healthy_at.elapsed() > UNHEALTHY_LIMIT => return fault,
                Err(fault) => self.not_ready(&fault.to_string()),
            }
        }
    }

    fn not_ready(&self, fault: &str) {
        if self.state.model().is_ok() {
            let reason = fault.to_owned();
            self.state.set_readiness(Readiness::Unavailable { reason });
        }
    }

    /// The model that the shard serves: the present one when it is still the same.
    async fn model(&self, client: &ShardClient) -> Result<Arc<Model>, ShardFault> {
        let info = client.info().await?;
        let present = self.state.model().ok();
        if let Some(model) = &present
            && is_same(&model.info, &info)
        {
            return Ok(Arc::clone(model));
        }
        let mut assets = client.assets().await?;
        let config = self.state.config().clone();
        let (tokenizer, template, grammars) = {
            let info = info.clone();
            let read = move || read_assets(&mut assets, &info, &config);
            let read = tokio::task::spawn_blocking(read).await;
            read.map_err(|panic| ShardFault::Asset(panic.to_string()))??
        };
        let model = Arc::new(Model {
            info,
            tokenizer: Arc::new(tokenizer),
            template,
            grammars,
            watermark: Watermark {
                gamma: self.state.config().router.watermark_gamma,
                delta: self.state.config().router.watermark_delta,
            },
            loaded_at: SystemTime::now(),
            dispatcher: Dispatcher::start(&self.state.config().router, self.state.outage()),
        });
        metrics::model(&model.info, present.as_deref().map(|model| &model.info));
        self.state.publish(Arc::clone(&model));
        if let Some(replaced) = present {
            replaced.dispatcher.close().await;
        }
        Ok(model)
    }
}

/// Whether two shards are the same to a request; their memory may differ.
fn is_same(one: &EngineInfo, other: &EngineInfo) -> bool {
    let other = EngineInfo {
        num_pages: one.num_pages,
        ..other.clone()
    };
    *one == other
}

fn read_assets(
    assets: &mut HashMap<String, Vec<u8>>,
    info: &EngineInfo,
    config: &ServeConfig,
) -> Result<(Tokenizer, Option<ChatTemplate>, Grammars), ShardFault> {
    let bad = |name: &str, reason: String| ShardFault::Asset(format!("{name}: {reason}"));
    let tokenizer = assets.remove(TOKENIZER);
    let tokenizer = tokenizer.ok_or_else(|| bad(TOKENIZER, "it is missing".into()))?;
    let grammars = Grammars::new(&tokenizer, info, &config.grammar);
    let tokenizer = Tokenizer::from_bytes(&tokenizer, config.router.validation_workers)
        .map_err(|error| bad(TOKENIZER, error.to_string()))?;
    let template = assets.remove(TEMPLATE).map(|source| {
        let source = String::from_utf8(source).map_err(|error| bad(TEMPLATE, error.to_string()))?;
        let (ends, limits) = ((&*info.bos_token, &*info.eos_token), &config.router.limits);
        ChatTemplate::new(&source, ends, limits).map_err(|error| bad(TEMPLATE, error.to_string()))
    });
    Ok((tokenizer, template.transpose()?, grammars))
}
