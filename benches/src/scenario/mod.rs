//! The scenarios, and the servers they run against.

mod itl;
mod limits;
mod long;
mod overhead;
mod router;
mod throughput;
mod ttft;

use anyhow::Result;
use serde_json::{Value, json};

use crate::args::{Args, Choice};
use crate::client::Client;
use crate::drive;
use crate::launch::Server;
use crate::prompt::Prompts;
use crate::report::Report;

/// Runs what was chosen and prints a line for each scenario.
///
/// # Errors
/// The first failure; scenarios before it have printed their lines.
pub(crate) async fn run(args: &Args) -> Result<()> {
    let chosen = |choice| args.scenario == choice || args.scenario == Choice::All;
    let on_model = [Choice::Ttft, Choice::Itl, Choice::Throughput];
    if on_model.into_iter().any(chosen) {
        let mut target = Target::open(args, &[]).await?;
        for choice in on_model.into_iter().filter(|choice| chosen(*choice)) {
            measure(choice, &mut target, args).await?.print()?;
        }
        target.close().await?;
    }
    if args.scenario == Choice::Overhead {
        let mut target = Target::open(args, &[]).await?;
        measure(Choice::Overhead, &mut target, args)
            .await?
            .print()?;
        target.close().await?;
    }
    if chosen(Choice::Long) {
        let mut target = Target::open(args, &["--executor", "oracle"]).await?;
        measure(Choice::Long, &mut target, args).await?.print()?;
        target.close().await?;
    }
    if chosen(Choice::Router) {
        router::measure(args.repeats, &args.router).await?.print()?;
    }
    if args.scenario == Choice::Limits {
        let points = limits::measure(args.threads.into(), args.repeats);
        Report::new("limits", json!({"repeats": args.repeats}), points).print()?;
    }
    if args.scenario == Choice::Drive {
        drive::run(&args.launcher).await?;
    }
    Ok(())
}

async fn measure(choice: Choice, target: &mut Target, args: &Args) -> Result<Report> {
    let repeats = args.repeats;
    let info = target.client.get("/info").await?.json()?;
    let params = json!({
        "repeats": repeats, "model": info["model_id"], "dtype": info["model_dtype"],
    });
    let (name, points) = match choice {
        Choice::Itl => ("itl", itl::measure(target, repeats).await?),
        Choice::Throughput => ("throughput", throughput::measure(target, repeats).await?),
        Choice::Overhead => ("overhead", overhead::measure(target, repeats).await?),
        Choice::Long => ("long", long::measure(target, repeats).await?),
        _ => ("ttft", ttft::measure(target, repeats).await?),
    };
    Ok(Report::new(name, params, points))
}

/// A server under measurement.
#[derive(Debug)]
pub(crate) struct Target {
    /// Talks to it.
    pub(crate) client: Client,
    /// Texts it has not seen.
    pub(crate) prompts: Prompts,
    server: Option<Server>,
}

impl Target {
    async fn open(args: &Args, arguments: &[&str]) -> Result<Self> {
        let mut server = None;
        let url = if let Some(url) = &args.url {
            url.clone()
        } else {
            let mut arguments = [&["--model-id", &args.model_id], arguments].concat();
            arguments.extend(args.flags.iter().map(String::as_str));
            let started = Server::start(&args.launcher, &arguments).await?;
            server.insert(started).url.clone()
        };
        let client = Client::new(&url);
        let prompts = Prompts::new(&client).await?;
        // The first request pays for what a server does once.
        let mut target = Self {
            client,
            prompts,
            server,
        };
        let warm_up = target.prompts.next(64);
        target.client.generate(&warm_up, 8).await?.finish().await?;
        Ok(target)
    }

    async fn close(self) -> Result<()> {
        match self.server {
            Some(server) => server.stop().await,
            None => Ok(()),
        }
    }

    /// Process of the launcher, if this program started it.
    fn pid(&self) -> Option<i32> {
        self.server.as_ref()?.pid()
    }
}

/// Milliseconds, as all reports give times.
fn millis(duration: std::time::Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// A point's facts and its figures as one object.
fn point(facts: Value, figures: Value) -> Value {
    let (Value::Object(mut all), Value::Object(figures)) = (facts, figures) else {
        unreachable!("points are made of objects");
    };
    all.extend(figures);
    Value::Object(all)
}
