//! Runs the router alone, against a shard that somebody else started.

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use text_generation_router::config::ServeConfig;
use text_generation_router::keys::TenantKey;
use text_generation_router::logging;
use text_generation_router::serve::{Server, Shutdown};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::Targets;

/// HTTP router for a shard that is already running.
#[derive(Parser)]
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
    /// Key that clients send as `Authorization: Bearer KEY`; the configuration never holds one.
    /// Prefer the environment variable: flags are visible to other users of the machine.
    #[arg(long, env = "API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// Keys of several tenants, as `tenant:key,tenant:key`. Prefer the environment variable here
    /// too, or the file.
    #[arg(long, env = "API_KEYS", hide_env_values = true)]
    api_keys: Option<String>,
    /// File of `tenant:key` lines, in the place of the configuration's; read again at SIGHUP.
    #[arg(long, env = "API_KEYS_FILE")]
    api_keys_file: Option<PathBuf>,
    /// One JSON object a log line, for log collectors.
    #[arg(long)]
    json_output: bool,
    /// Least level that is logged: error, warn, info, debug, trace, or per-module directives.
    #[arg(long, env, default_value = "info")]
    log_level: Targets,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let _log = logging::init(args.log_level.clone(), args.json_output);
    let config = config(args)?;
    let (host, port) = (config.router.hostname.clone(), config.router.port);
    let listener = TcpListener::bind((host.as_str(), port)).await;
    let listener = listener.with_context(|| format!("cannot listen on {host}:{port}"))?;
    tracing::info!("listening on {}", listener.local_addr()?);
    let mut terminate = signal(SignalKind::terminate())?;
    let shutdown = async move {
        let shutdown = tokio::select! {
            _ = terminate.recv() => Shutdown::Announced,
            _ = tokio::signal::ctrl_c() => Shutdown::AtOnce,
        };
        tracing::info!("shutting down");
        shutdown
    };
    Ok(Server::new(config)?.run(listener, shutdown).await?)
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
    if let Some(key) = args.api_key {
        let key = TenantKey::of_default_tenant(&key).context("--api-key")?;
        config.router.api_keys.push(key);
    }
    if let Some(keys) = args.api_keys {
        let keys = TenantKey::parse_all(&keys).context("--api-keys")?;
        config.router.api_keys.extend(keys);
    }
    if args.api_keys_file.is_some() {
        config.router.api_keys_file = args.api_keys_file;
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/contract/serve_config.json"
    );

    fn configured(flags: &[&str]) -> anyhow::Result<ServeConfig> {
        let program = ["text-generation-router", "--config", CONFIG];
        config(Args::try_parse_from([&program, flags].concat())?)
    }

    #[test]
    fn the_key_and_what_replaces_the_configuration_arrive() {
        let flags = [
            "--api-key",
            "hunter2",
            "--api-keys",
            "acme:k",
            "--port",
            "7",
        ];
        let router = configured(&flags).expect("the file is whole").router;
        assert_eq!(router.port, 7);
        let keys = router.api_keys.iter();
        let keys: Vec<_> = keys
            .map(|key| (key.tenant.name(), key.key.expose()))
            .collect();
        assert_eq!(keys, [("default", "hunter2"), ("acme", "k")]);
    }

    #[test]
    fn a_key_that_no_client_can_send_is_refused() {
        for key in ["", "two words", "schl\u{fc}ssel"] {
            let error = configured(&["--api-key", key]).expect_err("not sendable");
            let text = format!("{error:#}");
            assert!(text.contains("no client could send"), "{text}");
        }
    }
}
