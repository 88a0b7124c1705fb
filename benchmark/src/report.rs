//! The figures of a run: as JSON for programs, as a table for people.

use serde_json::{Value, json};

use crate::args::Args;
use crate::tally::Tally;

/// One object with all levels.
#[must_use]
pub fn as_json(args: &Args, model: &str, levels: &[Tally]) -> Value {
    let levels: Vec<_> = levels.iter().map(level).collect();
    json!({
        "url": args.url,
        "model": model,
        "settings": {
            "prompt_tokens": args.prompt_tokens,
            "shared_prefix_tokens": args.shared_prefix_tokens,
            "turns": args.turns,
            "turn_tokens": args.turn_tokens,
            "output_tokens": args.output_tokens,
            "seed": args.seed,
        },
        "levels": levels,
    })
}

fn level(tally: &Tally) -> Value {
    let turns = tally.turns.iter().enumerate().map(|(index, turn)| {
        json!({
            "turn": index + 1,
            "requests": turn.requests,
            "prompt_tokens": turn.prompt_tokens,
            "cached_tokens": turn.cached_tokens,
            "ttft_ms": turn.ttft.quantiles(),
        })
    });
    json!({
        "concurrency": tally.concurrency,
        "seconds": tally.elapsed().as_secs_f64(),
        "requests": tally.requests(),
        "failures": tally.failures,
        "failure_texts": tally.failure_texts,
        "prompt_tokens": tally.prompt_tokens(),
        "cached_tokens": tally.cached_tokens(),
        "output_tokens": tally.output_tokens,
        "requests_per_second": tally.rate(tally.requests()),
        "output_tokens_per_second": tally.rate(tally.output_tokens),
        "ttft_ms": tally.ttft().quantiles(),
        "itl_ms": tally.itl.quantiles(),
        "latency_ms": tally.latency.quantiles(),
        "turns": turns.collect::<Vec<_>>(),
    })
}

/// Headings of [`row`], as wide.
pub const HEADINGS: [&str; 10] = [
    "streams", "requests", "failed", "tokens/s", "TTFT p50", "TTFT p99", "ITL p50", "ITL p99",
    "latency", "cached",
];

/// The cells of a level. Times are in milliseconds; the last is the share of prompt tokens that
/// came from the server's cache.
#[must_use]
pub fn row(tally: &Tally) -> [String; HEADINGS.len()] {
    let time = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1}"));
    let (ttft, itl) = (tally.ttft().quantiles(), tally.itl.quantiles());
    let share = tally.cached_tokens() as f64 / tally.prompt_tokens().max(1) as f64;
    [
        tally.concurrency.to_string(),
        tally.requests().to_string(),
        tally.failures.to_string(),
        format!("{:.1}", tally.rate(tally.arrived_tokens)),
        time(ttft.map(|times| times.p50)),
        time(ttft.map(|times| times.p99)),
        time(itl.map(|times| times.p50)),
        time(itl.map(|times| times.p99)),
        time(tally.latency.quantiles().map(|times| times.p50)),
        format!("{:.0}%", share * 100.0),
    ]
}

/// A line of the table for a screen without a terminal.
#[must_use]
pub fn line<T: AsRef<str>>(cells: &[T]) -> String {
    let cells: Vec<_> = cells
        .iter()
        .map(|cell| format!("{:>9}", cell.as_ref()))
        .collect();
    cells.join(" ")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn a_level_without_answers_has_no_times() {
        let args = Args::try_parse_from(["benchmark"]).expect("no flag is needed");
        let report = as_json(&args, "m", &[Tally::new(4, 2)]);
        let level = &report["levels"][0];
        assert_eq!(level["ttft_ms"], Value::Null);
        assert_eq!(level["turns"].as_array().map(Vec::len), Some(2));
        assert_eq!(row(&Tally::new(4, 2))[4], "-");
    }

    #[test]
    fn cells_stand_below_their_headings() {
        let widths = |text: String| text.chars().count();
        let tally = Tally::new(16, 1);
        assert_eq!(widths(line(&HEADINGS)), widths(line(&row(&tally))));
    }
}
