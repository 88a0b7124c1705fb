//! What one level has measured so far.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::client::End;
use crate::stats::rounded;

/// Failures whose texts are kept.
const KEPT_FAILURES: usize = 3;

/// Longer times are counted as this one, of 12 days, in microseconds.
const LONGEST: u64 = 1 << 40;

/// Times in microseconds, to three digits.
#[derive(Debug, Clone)]
pub struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        Self(Histogram::new(3).expect("three digits are allowed"))
    }
}

impl Times {
    /// Counts one.
    pub fn add(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let counted = self.0.record(micros.min(LONGEST));
        counted.expect("it resizes itself up to the longest time");
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The quantiles in milliseconds; none of no times.
    #[must_use]
    pub fn quantiles(&self) -> Option<Quantiles> {
        let millis = |micros: f64| rounded(micros / 1e3);
        let at = |share| millis(self.0.value_at_quantile(share) as f64);
        (!self.0.is_empty()).then(|| Quantiles {
            n: self.0.len(),
            mean: millis(self.0.mean()),
            min: millis(self.0.min() as f64),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: millis(self.0.max() as f64),
        })
    }

    /// At most `bars` columns from the least to the greatest: lower edge in milliseconds, count.
    #[must_use]
    pub fn bars(&self, bars: u64) -> Vec<(f64, u64)> {
        let (low, high) = (self.0.min(), self.0.max());
        let width = (high - low) / bars.max(1) + 1;
        let edges = (0..bars).map(|bar| low + bar * width);
        let edges = edges.take_while(|edge| *edge <= high);
        let mut columns: Vec<_> = edges.map(|edge| (edge as f64 / 1e3, 0)).collect();
        for times in self.0.iter_recorded() {
            let bar = times.value_iterated_to().clamp(low, high) - low;
            let bar = usize::try_from(bar / width).unwrap_or(usize::MAX);
            if let Some((_, count)) = columns.get_mut(bar) {
                *count += times.count_at_value();
            }
        }
        columns
    }
}

/// A series of times, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quantiles {
    /// Times.
    pub n: u64,
    /// Their mean.
    pub mean: f64,
    /// The least.
    pub min: f64,
    /// The median.
    pub p50: f64,
    /// What 90 % do not exceed.
    pub p90: f64,
    /// What 99 % do not exceed.
    pub p99: f64,
    /// The greatest.
    pub max: f64,
}

/// The same turn of all conversations.
#[derive(Debug, Clone, Default)]
pub struct TurnTally {
    /// Requests answered.
    pub requests: u64,
    /// Tokens of their prompts.
    pub prompt_tokens: u64,
    /// Those of them that came from the server's cache.
    pub cached_tokens: u64,
    /// Times to first token.
    pub ttft: Times,
}

/// One level's figures.
#[derive(Debug, Clone)]
pub struct Tally {
    /// Streams at once.
    pub concurrency: u32,
    began: Instant,
    ended: Option<Instant>,
    /// Requests under way.
    pub running: u32,
    /// Requests that failed.
    pub failures: u64,
    /// What the first of them said.
    pub failure_texts: Vec<String>,
    /// Tokens that came, also of requests that failed later.
    pub arrived_tokens: u64,
    /// Tokens of answers that are complete.
    pub output_tokens: u64,
    /// By turn, from the first on.
    pub turns: Vec<TurnTally>,
    /// Times between one token of a stream and the next.
    pub itl: Times,
    /// Times of whole requests.
    pub latency: Times,
}

impl Tally {
    /// Nothing yet.
    #[must_use]
    pub fn new(concurrency: u32, turns: u32) -> Self {
        Self {
            concurrency,
            began: Instant::now(),
            ended: None,
            running: 0,
            failures: 0,
            failure_texts: vec![],
            arrived_tokens: 0,
            output_tokens: 0,
            turns: (0..turns).map(|_| TurnTally::default()).collect(),
            itl: Times::default(),
            latency: Times::default(),
        }
    }

    /// Counts an answer that is complete.
    pub fn add(&mut self, turn: usize, ttft: Duration, latency: Duration, end: &End) {
        let tally = &mut self.turns[turn];
        tally.requests += 1;
        tally.prompt_tokens += end.prompt_tokens;
        tally.cached_tokens += end.cached_tokens;
        tally.ttft.add(ttft);
        self.output_tokens += end.generated_tokens;
        self.latency.add(latency);
    }

    /// Counts a failure.
    pub fn fail(&mut self, text: String) {
        self.failures += 1;
        if self.failure_texts.len() < KEPT_FAILURES && !self.failure_texts.contains(&text) {
            self.failure_texts.push(text);
        }
    }

    /// No more will come.
    pub fn end(&mut self) {
        self.ended = Some(Instant::now());
    }

    /// Time since the beginning, up to the end.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.ended.unwrap_or_else(Instant::now) - self.began
    }

    /// Requests answered.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.turns.iter().map(|turn| turn.requests).sum()
    }

    /// Tokens of their prompts.
    #[must_use]
    pub fn prompt_tokens(&self) -> u64 {
        self.turns.iter().map(|turn| turn.prompt_tokens).sum()
    }

    /// Those of them that came from the server's cache.
    #[must_use]
    pub fn cached_tokens(&self) -> u64 {
        self.turns.iter().map(|turn| turn.cached_tokens).sum()
    }

    /// Times to first token of all turns.
    #[must_use]
    pub fn ttft(&self) -> Times {
        let mut all = Times::default();
        for turn in &self.turns {
            // Both resize themselves and have the same digits.
            all.0 += &turn.ttft.0;
        }
        all
    }

    /// Of a count, how many a second.
    #[must_use]
    pub fn rate(&self, count: u64) -> f64 {
        rounded(count as f64 / self.elapsed().as_secs_f64().max(1e-6))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(prompt_tokens: u64, cached_tokens: u64) -> End {
        End {
            text: String::new(),
            prompt_tokens,
            cached_tokens,
            generated_tokens: 5,
        }
    }

    #[test]
    fn turns_add_up() {
        let mut tally = Tally::new(2, 2);
        let ms = Duration::from_millis;
        tally.add(0, ms(10), ms(20), &end(100, 0));
        tally.add(1, ms(2), ms(12), &end(120, 104));
        tally.fail("no".to_owned());
        tally.fail("no".to_owned());
        assert_eq!((tally.requests(), tally.failures), (2, 2));
        assert_eq!(tally.failure_texts, ["no"]);
        assert_eq!((tally.prompt_tokens(), tally.cached_tokens()), (220, 104));
        assert_eq!((tally.output_tokens, tally.ttft().count()), (10, 2));
    }

    #[test]
    fn quantiles_are_in_milliseconds_and_right_to_three_digits() {
        let mut times = Times::default();
        assert_eq!(times.quantiles(), None);
        (1..=100).for_each(|ms| times.add(Duration::from_millis(ms)));
        let found = times.quantiles().expect("there are times");
        for (found, exact) in [(found.p50, 50.0), (found.p99, 99.0), (found.max, 100.0)] {
            assert!(
                (found / exact - 1.0_f64).abs() < 0.002,
                "{found} is not {exact}"
            );
        }
    }

    #[test]
    fn bars_count_every_time_once() {
        let mut times = Times::default();
        (0..1000).for_each(|i| times.add(Duration::from_micros(500 + i * 37)));
        let bars = times.bars(12);
        assert!(bars.len() <= 12 && bars.len() > 5);
        assert_eq!(bars.iter().map(|(_, count)| count).sum::<u64>(), 1000);
        assert!(
            Times::default()
                .bars(5)
                .iter()
                .all(|(_, count)| *count == 0)
        );
    }
}
