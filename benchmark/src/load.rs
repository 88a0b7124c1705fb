//! Conversations in parallel: one level of a run.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use futures::future::join_all;

use crate::client::{Client, End};
use crate::prompt::{Prompts, key};
use crate::tally::Tally;

/// Pause of a stream whose request failed: a server that refuses is not asked at full speed.
const FAILURE_PAUSE: Duration = Duration::from_millis(250);

/// What the conversations are. Lengths are in tokens.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// The same start of all conversations.
    pub shared_prefix_tokens: usize,
    /// First prompt, beside the prefix.
    pub prompt_tokens: usize,
    /// Turns of a conversation.
    pub turns: u32,
    /// New text of each turn after the first.
    pub turn_tokens: usize,
    /// Each answer.
    pub output_tokens: usize,
    /// Which texts.
    pub seed: u64,
}

/// When a level ends: whatever comes first. Requests under way are finished.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Requests of the level.
    pub requests: Option<u64>,
    /// Time in which requests begin.
    pub duration: Option<Duration>,
}

/// One level's run, whose figures can be looked at meanwhile.
#[derive(Debug)]
pub struct Level {
    shape: Shape,
    bounds: Bounds,
    begun: AtomicU64,
    tally: Mutex<Tally>,
}

impl Level {
    /// A level of so many streams.
    #[must_use]
    pub fn new(concurrency: u32, shape: Shape, bounds: Bounds) -> Self {
        Self {
            shape,
            bounds,
            begun: AtomicU64::new(0),
            tally: Mutex::new(Tally::new(concurrency, shape.turns)),
        }
    }

    /// The figures so far.
    #[must_use]
    pub fn snapshot(&self) -> Tally {
        self.tally().clone()
    }

    /// Runs it to its bounds.
    pub async fn run(&self, client: &Client, prompts: &Prompts) {
        let concurrency = self.tally().concurrency;
        let began = Instant::now();
        let streams = (0..concurrency).map(|stream| async move {
            let mut conversation = 0;
            while self.may_begin(began) {
                let parts = [
                    self.shape.seed,
                    concurrency.into(),
                    stream.into(),
                    conversation,
                ];
                self.converse(client, prompts, key(&parts), began).await;
                conversation += 1;
            }
        });
        join_all(streams).await;
        self.tally().end();
    }

    fn may_begin(&self, began: Instant) -> bool {
        let in_time = self
            .bounds
            .duration
            .is_none_or(|limit| began.elapsed() < limit);
        let begun = self.begun.load(Ordering::Relaxed);
        in_time && self.bounds.requests.is_none_or(|limit| begun < limit)
    }

    /// Takes a place for a request; the last one may have been taken since `may_begin`.
    fn begin(&self, began: Instant) -> bool {
        let limit = self.bounds.requests.unwrap_or(u64::MAX);
        self.may_begin(began) && self.begun.fetch_add(1, Ordering::Relaxed) < limit
    }

    async fn converse(&self, client: &Client, prompts: &Prompts, id: u64, began: Instant) {
        let shape = &self.shape;
        let mut history = prompts.text(key(&[shape.seed]), shape.shared_prefix_tokens);
        for turn in 0..shape.turns {
            let tokens = if turn == 0 {
                shape.prompt_tokens
            } else {
                shape.turn_tokens
            };
            history.push_str(&prompts.text(key(&[id, turn.into()]), tokens));
            if !self.begin(began) {
                return;
            }
            self.tally().running += 1;
            let answer = self.ask(client, &history, turn as usize).await;
            self.tally().running -= 1;
            match answer {
                Ok(end) => history.push_str(&end.text),
                Err(error) => {
                    self.tally().fail(format!("{error:#}"));
                    return tokio::time::sleep(FAILURE_PAUSE).await;
                }
            }
        }
    }

    async fn ask(&self, client: &Client, prompt: &str, turn: usize) -> Result<End> {
        let began = Instant::now();
        let mut stream = client.generate(prompt, self.shape.output_tokens).await?;
        let mut arrival = stream.next().await?;
        let ttft = arrival.at - began;
        self.tally().arrived_tokens += 1;
        loop {
            if let Some(end) = arrival.end {
                self.tally().add(turn, ttft, arrival.at - began, &end);
                return Ok(end);
            }
            let next = stream.next().await?;
            let mut tally = self.tally();
            tally.itl.add(next.at - arrival.at);
            tally.arrived_tokens += 1;
            drop(tally);
            arrival = next;
        }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
