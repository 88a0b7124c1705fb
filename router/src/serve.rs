//! The server: answers HTTP from its first moment, and drains at its end.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tonic::transport::Endpoint;

use crate::app::app;
use crate::config::ServeConfig;
use crate::keys::{Keys, KeysError};
use crate::metrics;
use crate::model::AppState;
use crate::shard::link::{Link, endpoint};
use crate::trace::Traces;

pub(crate) mod body;
mod connection;

use connection::Connections;

/// How often the recorder folds the histograms' samples together.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// Whether requests can be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Readiness {
    /// No shard has been ready yet.
    #[error("the model is loading")]
    Loading,
    /// A request sent now is taken.
    #[error("the server is ready")]
    Ready,
    /// The shard was lost or is sick.
    #[error("the shard is unavailable: {reason}")]
    Unavailable {
        /// What is wrong with it.
        reason: String,
    },
    /// The server is finishing what it has begun.
    #[error("the server is shutting down")]
    Draining,
}

/// How a server is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Says so on the health routes first, and takes requests until load balancers had the time to
    /// hear it.
    Announced,
    /// Takes nothing from this moment.
    AtOnce,
}

/// What can keep a server from running.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The shard's address is none.
    #[error("shard address {address:?} is none: {source}; use unix:/path or http://host:port")]
    ShardAddress {
        /// The address as configured.
        address: String,
        /// What is wrong with it.
        source: tonic::transport::Error,
    },
    /// The address of the traces' collector is none.
    #[error("the endpoint for traces is none: {0}; use http://host:port")]
    OtlpEndpoint(String),
}

/// An HTTP server for one shard.
#[derive(Debug)]
pub struct Server {
    state: AppState,
}

impl Server {
    /// A server that does not run yet.
    ///
    /// # Errors
    /// When the file of keys cannot be used.
    pub fn new(config: ServeConfig) -> Result<Self, KeysError> {
        metrics::recorder();
        Ok(Self {
            state: AppState::new(config)?,
        })
    }

    /// Follows whether requests can be answered.
    #[must_use]
    pub fn readiness(&self) -> watch::Receiver<Readiness> {
        self.state.readiness()
    }

    /// What its handlers share; for tests and for callers that want its facts.
    #[must_use]
    pub fn state(&self) -> AppState {
        self.state.clone()
    }

    /// Serves until `shutdown` resolves and tells how to end. What runs and, in an announced
    /// shutdown, what comes in the first `lame_duck` seconds, has `graceful_termination_timeout`
    /// seconds to finish.
    ///
    /// # Errors
    /// When the configured address of the shard, or of the traces' collector, is none.
    pub async fn run(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = Shutdown>,
    ) -> Result<(), ServeError> {
        let config = &self.state.config().router;
        let endpoint = shard_endpoint(&config.shard_address)?;
        // Ends with this function.
        let mut background = JoinSet::new();
        background.spawn(Link::new(self.state.clone(), endpoint).run());
        background.spawn(keep_metrics());
        if self.state.keys().have_file() {
            background.spawn(Keys::reload_on_hangup(Arc::clone(self.state.keys())));
        }

        let traces = Traces::start(config).map_err(ServeError::OtlpEndpoint)?;
        let app = app(self.state.clone(), traces.clone());
        let mut connections = Connections::new(&config.http, app);
        let mut shutdown = pin!(shutdown);
        let shutdown = tokio::select! {
            never = connections.accept(&listener) => match never {},
            shutdown = &mut shutdown => shutdown,
        };
        self.state.set_readiness(Readiness::Draining);
        let grace = Duration::from_secs(config.graceful_termination_timeout);
        let lame_duck = match shutdown {
            Shutdown::Announced => Duration::from_secs(config.lame_duck).min(grace),
            Shutdown::AtOnce => Duration::ZERO,
        };
        if !lame_duck.is_zero() {
            tokio::select! {
                never = connections.accept(&listener) => match never {},
                () = sleep(lame_duck) => {}
            }
        }
        drop(listener);
        let grace = grace - lame_duck;
        if timeout(grace, connections.drain()).await.is_err() {
            tracing::warn!(
                "requests were still running after {} s; ended",
                config.graceful_termination_timeout
            );
            connections.abort().await;
        }
        if let Some(traces) = traces {
            traces.finish().await;
        }
        Ok(())
    }
}

fn shard_endpoint(address: &str) -> Result<Endpoint, ServeError> {
    endpoint(address).map_err(|source| ServeError::ShardAddress {
        address: address.to_owned(),
        source,
    })
}

async fn keep_metrics() {
    loop {
        sleep(METRICS_UPKEEP).await;
        metrics::recorder().run_upkeep();
    }
}
