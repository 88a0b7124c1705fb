//! Runs the router alone, against a shard that somebody else started.

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use text_generation_router::config::ServeConfig;
use text_generation_router::serve::Server;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// HTTP router for a shard that is already running.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// The configuration, as the launcher writes it.
    #[arg(long)]
    config: PathBuf,
    /// Where the shard answers, in the place of the configuration's: `unix:/path` or
    /// `http://host:port`.
    #[arg(long)]
    shard_address: Option<String>,
    /// Port to listen on, in the place of the configuration's.
    #[arg(long)]
    port: Option<u16>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = config(Args::parse())?;
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new("info"))
        .init();
    let (host, port) = (config.router.hostname.clone(), config.router.port);
    let listener = TcpListener::bind((host.as_str(), port)).await;
    let listener = listener.with_context(|| format!("cannot listen on {host}:{port}"))?;
    tracing::info!("listening on {}", listener.local_addr()?);
    let mut terminate = signal(SignalKind::terminate())?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        tracing::info!("shutting down");
    };
    Ok(Server::new(config).run(listener, shutdown).await?)
}

fn config(args: Args) -> anyhow::Result<ServeConfig> {
    let path = args.config.display();
    let json = std::fs::read(&args.config).with_context(|| format!("cannot read {path}"))?;
    let mut config: ServeConfig =
        serde_json::from_slice(&json).with_context(|| format!("{path} is no configuration"))?;
    if let Some(address) = args.shard_address {
        config.router.shard_address = address;
    }
    if let Some(port) = args.port {
        config.router.port = port;
    }
    Ok(config)
}
