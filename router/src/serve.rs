//! The server: answers HTTP from its first moment, and drains at its end.

use std::pin::pin;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tonic::transport::Endpoint;

use crate::app::app;
use crate::config::ServeConfig;
use crate::metrics;
use crate::model::AppState;
use crate::shard::link::{Link, endpoint};

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
}

/// An HTTP server for one shard.
#[derive(Debug)]
pub struct Server {
    state: AppState,
}

impl Server {
    /// A server that does not run yet.
    #[must_use]
    pub fn new(config: ServeConfig) -> Self {
        metrics::recorder();
        Self {
            state: AppState::new(config),
        }
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

    /// Serves until `shutdown` resolves; requests that run then have
    /// `graceful_termination_timeout` seconds to finish.
    ///
    /// # Errors
    /// When the configured shard address is none.
    pub async fn run(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let config = &self.state.config().router;
        let endpoint = shard_endpoint(&config.shard_address)?;
        // Ends with this function.
        let mut background = JoinSet::new();
        background.spawn(Link::new(self.state.clone(), endpoint).run());
        background.spawn(keep_metrics());

        let mut connections = Connections::new(&config.http, app(self.state.clone()));
        let mut shutdown = pin!(shutdown);
        tokio::select! {
            () = connections.accept(&listener) => {}
            () = &mut shutdown => {}
        }
        drop(listener);
        self.state.set_readiness(Readiness::Draining);
        let grace = Duration::from_secs(config.graceful_termination_timeout);
        if timeout(grace, connections.drain()).await.is_err() {
            tracing::warn!(
                "requests were still running after {} s; ended",
                grace.as_secs()
            );
            connections.abort().await;
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
