//! `text-generation-benchmark`: measures a running server.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use ratatui::DefaultTerminal;
use text_generation_benchmark::args::Args;
use text_generation_benchmark::client::Client;
use text_generation_benchmark::load::Level;
use text_generation_benchmark::prompt::Prompts;
use text_generation_benchmark::report;
use text_generation_benchmark::tally::Tally;
use text_generation_benchmark::view::{View, Wish};

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to tell when standard error is closed.
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What is measured.
struct Target {
    client: Client,
    prompts: Prompts,
    model: String,
}

async fn run(args: &Args) -> Result<()> {
    let target = open(args).await?;
    let is_live = !args.json && io::stdout().is_terminal();
    let levels = match is_live {
        true => live(args, &target).await?,
        false => plain(args, &target).await?,
    };
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", report::as_json(args, &target.model, &levels))?;
    } else if is_live {
        write_line(&mut out, &report::HEADINGS)?;
        levels
            .iter()
            .try_for_each(|level| write_line(&mut out, &report::row(level)))?;
    }
    check(&levels)
}

async fn open(args: &Args) -> Result<Target> {
    ensure!(
        args.url.starts_with("http://"),
        "--url is {}: only http:// is spoken",
        args.url
    );
    let client = Client::new(&args.url);
    let client = match &args.api_key {
        Some(key) => client.with_key(key)?,
        None => client,
    };
    let info = client.get("/info").await?.json()?;
    let prompts = Prompts::new(&client).await?;
    // The first request pays for what a server does once.
    client
        .generate(" warm up", 2)
        .await?
        .finish()
        .await
        .context("the warm-up failed")?;
    let model = info["model_id"]
        .as_str()
        .unwrap_or("an unnamed model")
        .to_owned();
    Ok(Target {
        client,
        prompts,
        model,
    })
}

/// Runs the levels; prints a line after each, unless JSON is wanted.
async fn plain(args: &Args, target: &Target) -> Result<Vec<Tally>> {
    let mut levels = vec![];
    let print = |cells: &[String]| match args.json {
        true => Ok(()),
        false => write_line(&mut io::stdout().lock(), cells),
    };
    print(&report::HEADINGS.map(str::to_owned))?;
    for &concurrency in &args.concurrency {
        let level = Level::new(concurrency, args.shape(), args.bounds());
        level.run(&target.client, &target.prompts).await;
        levels.push(level.snapshot());
        print(&report::row(&level.snapshot()))?;
    }
    Ok(levels)
}

/// Runs the levels and draws them meanwhile.
async fn live(args: &Args, target: &Target) -> Result<Vec<Tally>> {
    let mut terminal = ratatui::try_init()?;
    let levels = draw_levels(args, target, &mut terminal).await;
    ratatui::try_restore()?;
    levels
}

async fn draw_levels(
    args: &Args,
    target: &Target,
    terminal: &mut DefaultTerminal,
) -> Result<Vec<Tally>> {
    let mut view = View::new(format!("{} at {}", target.model, args.url));
    for &concurrency in &args.concurrency {
        let level = Arc::new(Level::new(concurrency, args.shape(), args.bounds()));
        let (client, prompts) = (target.client.clone(), target.prompts.clone());
        let shared = Arc::clone(&level);
        let run = tokio::spawn(async move { shared.run(&client, &prompts).await });
        let mut wish = Wish::Continue;
        while !run.is_finished() && wish == Wish::Continue {
            // The load runs on the other threads meanwhile.
            wish = tokio::task::block_in_place(|| view.frame(terminal, &level.snapshot()))?;
        }
        run.abort();
        view.done.push(level.snapshot());
        if wish == Wish::Quit {
            break;
        }
    }
    Ok(view.done)
}

fn write_line<T: AsRef<str>>(out: &mut impl Write, cells: &[T]) -> Result<()> {
    Ok(writeln!(out, "{}", report::line(cells))?)
}

/// Fails a run in which a level got no answer at all.
fn check(levels: &[Tally]) -> Result<()> {
    for level in levels {
        ensure!(
            level.requests() > 0 || level.failures == 0,
            "no request of {} streams was answered: {}",
            level.concurrency,
            level.failure_texts.join("; ")
        );
    }
    Ok(())
}
