//! The mock's side of one `Serve` stream.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::pending;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tonic::{Status, Streaming};

use super::{Answer, End, Shared};
use crate::pb;
use crate::pb::router_command::Command;

type Events = mpsc::Sender<Result<pb::EngineEvent, Status>>;

pub(super) struct Engine {
    shared: Arc<Shared>,
    events: Events,
    credit: watch::Receiver<u32>,
    running: BTreeMap<u64, Running>,
    prompt_tokens: u64,
    generated_tokens: u64,
    broken: bool,
}

struct Running {
    request: pb::Request,
    answer: Answer,
    sent: u32,
    /// When the next token or the end is due; `None` means never.
    due: Option<Instant>,
}

impl Engine {
    pub(super) fn new(shared: Arc<Shared>, events: Events) -> Self {
        let mut credit = shared.credit.subscribe();
        credit.mark_changed();
        Self {
            shared,
            events,
            credit,
            running: BTreeMap::new(),
            prompt_tokens: 0,
            generated_tokens: 0,
            broken: false,
        }
    }

    /// Answers commands until the router ends the stream, the script breaks it or the shard dies.
    pub(super) async fn run(mut self, mut commands: Streaming<pb::RouterCommand>) {
        while !self.broken {
            let due = self
                .running
                .values()
                .filter_map(|running| running.due)
                .min();
            tokio::select! {
                biased;
                () = self.shared.dead.cancelled() => self.broken = true,
                command = commands.message() => match command {
                    Ok(Some(command)) => self.told(command).await,
                    Ok(None) | Err(_) => return,
                },
                Ok(()) = self.credit.changed() => self.report().await,
                () = sleep_until_some(due) => self.step().await,
            }
        }
        self.say(Err(Status::unavailable("the mock was told to die")))
            .await;
    }

    async fn told(&mut self, command: pb::RouterCommand) {
        match command.command {
            Some(Command::Admit(admit)) => {
                for request in admit.requests {
                    for step in self.admit(request) {
                        self.say_event(pb::engine_event::Event::Step(step)).await;
                    }
                }
                self.report().await;
            }
            Some(Command::Cancel(cancel)) => self.cancel(cancel).await,
            Some(Command::Hello(_)) | None => self.broken = true,
        }
    }

    /// Takes a request; returns what is told before its first token.
    fn admit(&mut self, request: pb::Request) -> Vec<pb::Step> {
        let mut answer = (self.shared.options.script)(&request);
        let before = std::mem::take(&mut answer.before);
        self.prompt_tokens += request.tokens.len() as u64 / 4;
        let due = Some(Instant::now() + answer.wait);
        let running = Running {
            request: request.clone(),
            answer,
            sent: 0,
            due,
        };
        self.running.insert(request.id, running);
        let mut seen = self.shared.seen();
        seen.requests.push(request);
        seen.most_in_flight = seen.most_in_flight.max(self.running.len());
        before
    }

    async fn cancel(&mut self, cancel: pb::Cancel) {
        self.shared.seen().cancels.push(cancel);
        let heeded = |running: &Running| !running.answer.ignores_cancel;
        if self.running.get(&cancel.id).is_some_and(heeded)
            && let Some(running) = self.running.remove(&cancel.id)
        {
            let kept = cancel.keep_tokens.unwrap_or(running.sent).min(running.sent);
            let completion = running.completion(pb::FinishReason::Cancelled, kept);
            self.say_step(vec![], vec![running.finished(completion)])
                .await;
        }
    }

    /// One token for each request that is due.
    async fn step(&mut self) {
        let now = Instant::now();
        let (mut tokens, mut finished) = (vec![], vec![]);
        for running in self.running.values_mut() {
            if running.due.is_some_and(|due| due <= now) {
                match running.next(now) {
                    Next::Token(token) => tokens.push(token),
                    Next::Finished(outcome) => finished.push(running.finished(outcome)),
                    Next::Nothing => {}
                    Next::Break => self.broken = true,
                }
            }
        }
        for ended in &finished {
            self.running.remove(&ended.request_id);
        }
        self.generated_tokens += tokens.len() as u64;
        self.say_step(tokens, finished).await;
        if self.running.is_empty() {
            self.report().await;
        }
    }

    async fn say_step(&mut self, tokens: Vec<pb::Token>, finished: Vec<pb::Finished>) {
        if !tokens.is_empty() || !finished.is_empty() {
            self.say_event(pb::engine_event::Event::Step(pb::Step {
                tokens,
                finished,
                ..pb::Step::default()
            }))
            .await;
        }
    }

    async fn report(&mut self) {
        let load = pb::Load {
            credit: *self.credit.borrow_and_update(),
            decoding: u32::try_from(self.running.len()).unwrap_or(u32::MAX),
            pages_free: self.shared.options.info.num_pages,
            prefill_tokens: self.prompt_tokens,
            generated_tokens: self.generated_tokens,
            ..pb::Load::default()
        };
        self.say_event(pb::engine_event::Event::Load(load)).await;
    }

    async fn say_event(&mut self, event: pb::engine_event::Event) {
        self.say(Ok(pb::EngineEvent { event: Some(event) })).await;
    }

    async fn say(&mut self, event: Result<pb::EngineEvent, Status>) {
        if self.events.send(event).await.is_err() {
            self.broken = true;
        }
    }
}

enum Next {
    Token(pb::Token),
    Finished(pb::finished::Outcome),
    Nothing,
    Break,
}

impl Running {
    fn next(&mut self, now: Instant) -> Next {
        let last = self.sent.checked_sub(1).and_then(|at| self.token_id(at));
        if last.is_some_and(|id| self.request.stop_token_ids.contains(&id)) {
            return Next::Finished(self.completion(pb::FinishReason::StopToken, self.sent));
        }
        if self.sent == self.request.max_new_tokens {
            return Next::Finished(self.completion(pb::FinishReason::Length, self.sent));
        }
        if let Some(id) = self.token_id(self.sent) {
            self.sent += 1;
            self.due = Some(now + self.answer.pace);
            return Next::Token(self.token(self.sent - 1, id));
        }
        match &self.answer.end {
            End::Length | End::Repeat => {
                Next::Finished(self.completion(pb::FinishReason::Length, self.sent))
            }
            End::Error(error) => Next::Finished(pb::finished::Outcome::Error(error.clone())),
            End::BreakStream => Next::Break,
            End::Hang => {
                self.due = None;
                Next::Nothing
            }
            End::IndexGap => {
                self.due = None;
                Next::Token(self.token(self.sent + 1, 0))
            }
        }
    }

    fn token_id(&self, at: u32) -> Option<u32> {
        let (at, tokens) = (at as usize, &self.answer.tokens);
        match self.answer.end {
            End::Repeat => tokens.get(at % tokens.len().max(1)).copied(),
            _ => tokens.get(at).copied(),
        }
    }

    fn token(&self, index: u32, token_id: u32) -> pb::Token {
        let logprob = self.answer.logprob;
        let top = (0..self.request.top_n_tokens).map(|rank| pb::TopToken {
            token_id: token_id + rank,
            logprob,
        });
        pb::Token {
            request_id: self.request.id,
            index,
            token_id,
            logprob,
            top: top.collect(),
        }
    }

    fn completion(&self, reason: pb::FinishReason, generated_tokens: u32) -> pb::finished::Outcome {
        let prompt_tokens = self.request.tokens.len() / 4;
        pb::finished::Outcome::Completion(pb::Completion {
            reason: reason.into(),
            prompt_tokens: u32::try_from(prompt_tokens).unwrap_or(u32::MAX),
            generated_tokens,
            receipt: Some(pb::Receipt {
                cached_tokens: self.answer.cached_tokens,
                wait_us: 1000,
                prefill_us: 2000,
                decode_us: 3000,
                preemptions: 0,
            }),
        })
    }

    fn finished(&self, outcome: pb::finished::Outcome) -> pb::Finished {
        pb::Finished {
            request_id: self.request.id,
            outcome: Some(outcome),
        }
    }
}

async fn sleep_until_some(due: Option<Instant>) {
    match due {
        // A sleep takes a millisecond even when it is over before it begins.
        Some(due) if due <= Instant::now() => {}
        Some(due) => sleep_until(due).await,
        None => pending().await,
    }
}
