//! `text-generation-launcher`: one command from flags to a served model.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use text_generation_launcher::args::Args;
use text_generation_launcher::child::{Output, ShardCommand};
use text_generation_launcher::error::{EXIT_CONFIG, LaunchError};
use text_generation_launcher::resolve::resolve;
use text_generation_launcher::run_dir::RunDir;
use text_generation_launcher::signals::StopSignals;
use text_generation_launcher::supervise::{GroupSpec, Supervisor};
use text_generation_launcher::{announce, logging};
use text_generation_router::config::RouterConfig;
use text_generation_router::serve::Server;
use tokio::net::TcpListener;

/// The main thread polls the supervisor, as shards die with the thread that started them.
#[tokio::main]
async fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Nothing is left to tell when standard error is closed.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { EXIT_CONFIG } else { 0 });
        }
    };
    logging::init(args.process.log_level.clone(), args.process.json_output);
    match launch(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::from(error.exit_code())
        }
    }
}

async fn launch(args: Args) -> Result<(), LaunchError> {
    let signals = StopSignals::listen().map_err(LaunchError::Signals)?;
    let run_dir = RunDir::create()?;
    let output = Output::choose(args.process.json_output);
    let startup_timeout = Duration::from_secs(args.process.startup_timeout);
    let config = resolve(args, run_dir.path()).map_err(LaunchError::Config)?;
    // Before the shards: a port in use shall not cost the loading of a model.
    let (listener, address) = bind(&config.router).await?;
    announce::plan(&config, address);
    let shards = GroupSpec {
        command: ShardCommand::new(run_dir.write_config(&config)?, output),
        ranks: config.engine.num_shard,
        run_dir: run_dir.path().to_owned(),
        startup_timeout,
    };
    let server = Server::new(config).map_err(LaunchError::Keys)?;
    let mut supervisor = Supervisor::new(shards, server.readiness(), signals.clone());
    tokio::spawn(announce::readiness(
        server.readiness(),
        server.state(),
        address,
    ));
    let router = tokio::spawn(server.run(listener, signals.clone().first()));
    let outcome = tokio::select! {
        served = router => served.map_err(LaunchError::from).and_then(|served| Ok(served?)),
        error = supervisor.run() => Err(error),
        () = signals.clone().second() => Err(LaunchError::Interrupted),
    };
    tokio::select! {
        () = supervisor.stop() => {}
        () = signals.second() => supervisor.kill().await,
    }
    outcome
}

async fn bind(config: &RouterConfig) -> Result<(TcpListener, SocketAddr), LaunchError> {
    let bound = async {
        let listener = TcpListener::bind((config.hostname.as_str(), config.port)).await?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    bound.await.map_err(|source| LaunchError::Bind {
        address: format!("{}:{}", config.hostname, config.port),
        source,
    })
}
