//! `text-generation-launcher`: one command from flags to a served model.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;
use text_generation_launcher::args::Action;
use text_generation_launcher::child::{Output, ShardCommand, ShardLevel, ask_shard};
use text_generation_launcher::error::LaunchError;
use text_generation_launcher::parse::{Parsed, Stop, parse};
use text_generation_launcher::resolve::resolve;
use text_generation_launcher::run_dir::RunDir;
use text_generation_launcher::signals::StopSignals;
use text_generation_launcher::supervise::{GroupSpec, Supervisor};
use text_generation_launcher::{announce, environment, print_config};
use text_generation_router::config::RouterConfig;
use text_generation_router::logging::{self, NonBlocking};
use text_generation_router::serve::Server;
use tokio::net::TcpListener;
use tracing_subscriber::filter::{LevelFilter, Targets};

/// The main thread polls the supervisor, as shards die with the thread that started them.
#[tokio::main]
async fn main() -> ExitCode {
    let parsed = match parse(std::env::args_os()) {
        Ok(parsed) => parsed,
        Err(Stop::Asked(text)) => {
            // Nothing is left to tell when standard output is closed.
            let _ = text.print();
            return ExitCode::SUCCESS;
        }
        Err(Stop::Mistakes(mistakes)) => {
            let _log = logging::init(Targets::new().with_default(LevelFilter::INFO), false);
            return failed(&LaunchError::Config(mistakes));
        }
    };
    let process = &parsed.args.process;
    let log = logging::init(process.log_level.clone(), process.json_output);
    let outcome = match parsed.args.action() {
        Action::Serve => launch(parsed, log.writer()).await,
        Action::ReportEnvironment => report_environment(&parsed),
        Action::PrintConfig => print_config(parsed),
        Action::DryRun => dry_run(parsed),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &LaunchError) -> ExitCode {
    tracing::error!("{error}");
    ExitCode::from(error.exit_code())
}

fn report_environment(parsed: &Parsed) -> Result<(), LaunchError> {
    // Also of an installation whose shard does not start: that is what the report is for.
    let shard = ask_shard(&[OsStr::new("environment")]);
    let shard = shard.map_or_else(|error| error.to_string().into(), Value::Object);
    let report = environment::report(shard);
    let json = parsed.args.process.json_output;
    print_config::print_report(report, json).map_err(LaunchError::Report)
}

fn dry_run(parsed: Parsed) -> Result<(), LaunchError> {
    let run_dir = RunDir::create()?;
    let json = parsed.args.process.json_output;
    let config = resolve(parsed, run_dir.path()).map_err(LaunchError::Config)?;
    let file = run_dir.write_config(&config)?;
    let plan = ask_shard(&[OsStr::new("plan"), OsStr::new("--config"), file.as_os_str()])?;
    print_config::print_report(plan, json).map_err(LaunchError::Report)
}

fn print_config(parsed: Parsed) -> Result<(), LaunchError> {
    let run_dir = RunDir::create()?;
    let (origins, json) = (parsed.origins.clone(), parsed.args.process.json_output);
    let notice = parsed.args.notice();
    let config = resolve(parsed, run_dir.path()).map_err(LaunchError::Config)?;
    warn_of(notice);
    print_config::print(&config, &origins, json).map_err(LaunchError::Report)
}

/// Tells of flags that were given in vain.
fn warn_of(notice: Option<String>) {
    if let Some(notice) = notice {
        tracing::warn!("{notice}");
    }
}

async fn launch(parsed: Parsed, log: NonBlocking) -> Result<(), LaunchError> {
    let signals = StopSignals::listen().map_err(LaunchError::Signals)?;
    let run_dir = RunDir::create()?;
    let process = &parsed.args.process;
    let output = Output::choose(process.json_output);
    let level = ShardLevel::of(&process.log_level);
    let startup_timeout = Duration::from_secs(process.startup_timeout);
    let notice = parsed.args.notice();
    let config = resolve(parsed, run_dir.path()).map_err(LaunchError::Config)?;
    // Before the shards: a port in use shall not cost the loading of a model.
    let (listener, address) = bind(&config.router).await?;
    announce::plan(&config, address);
    warn_of(notice);
    let shards = GroupSpec {
        command: ShardCommand::new(run_dir.write_config(&config)?, (output, level), log),
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
