//! The dispatch task: the one owner of a model's queue and of what is in flight.
//!
//! It waits for whatever comes first: a message, an event of the shard, room for the next command,
//! or the end of the longest wait in the queue. It never waits for a reader: tokens go into channels
//! with room for all of them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::pending;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::SendError;
use tokio::time::{Instant, sleep_until};
use tonic::Status;

use super::in_flight::InFlight;
use super::{Admission, Message};
use crate::error::{Limit, ShardError, ShardErrorCode};
use crate::generation::Event;
use crate::metrics;
use crate::pb;
use crate::queue::Queue;
use crate::shard::session::Session;
use crate::shard::wire;

/// Prompt bytes in one `Admit`; messages are limited to 16 MiB.
const ADMIT_BYTES: usize = 4 * 1024 * 1024;
/// Reports of the shard further apart than this have an idle time between them.
const BUSY_REPORTS: Duration = Duration::from_secs(1);

/// State of the task.
pub(super) struct Actor {
    admission: Arc<Admission>,
    messages: mpsc::Receiver<Message>,
    queue: Queue,
    shard: Option<Shard>,
    /// What the metrics show: sizes, and whether a shard is connected.
    shown: (usize, usize, bool),
}

/// The connected shard.
struct Shard {
    session: Session,
    in_flight: InFlight,
    /// Cancels to send, ahead of new requests.
    cancels: VecDeque<pb::Cancel>,
    /// Its latest report, and when it came.
    load: Option<(Instant, pb::Load)>,
}

impl Actor {
    pub(super) fn new(admission: Arc<Admission>, messages: mpsc::Receiver<Message>) -> Self {
        Self {
            admission,
            messages,
            queue: Queue::default(),
            shard: None,
            shown: (0, 0, false),
        }
    }

    /// Works until nobody can send messages any more.
    pub(super) async fn run(mut self) {
        loop {
            let queue_end = self
                .queue
                .oldest()
                .map(|t| t + self.admission.limits.queue_time);
            let commands = self.commands_to_fill();
            tokio::select! {
                message = self.messages.recv() => match message {
                    Some(message) => self.told(message),
                    None => return,
                },
                event = next_event(self.shard.as_mut()) => self.on_event(event),
                permit = reserve(commands) => match permit {
                    Ok(permit) => self.send_command(permit),
                    Err(SendError(())) => self.lose_shard("it closed its command stream"),
                },
                () = sleep_until_some(queue_end) => self.expire(),
            }
            self.show_sizes();
        }
    }

    fn told(&mut self, message: Message) {
        match message {
            Message::Submit(entry) => self.queue.push(entry),
            Message::Stop(id, keep_tokens, _) => {
                if let Some(shard) = &mut self.shard
                    && shard.in_flight.stop(id, keep_tokens)
                {
                    shard.cancels.push_back(cancel(id, Some(keep_tokens)));
                }
            }
            Message::Cancel(id, _) => self.cancel(id),
            Message::Attach(session, attached) => {
                self.attach(session);
                // Unheard only when the link has given up meanwhile.
                let _ = attached.send(());
            }
            Message::Close => {
                for entry in self.queue.drain() {
                    // Closed only when the client is gone.
                    let _ = entry
                        .events
                        .try_send(Event::Failed(self.admission.unavailable()));
                }
                self.lose_shard("the model was replaced");
            }
        }
    }

    fn cancel(&mut self, id: u64) {
        if self.queue.remove(id).is_some() {
            return;
        }
        if let Some(shard) = &mut self.shard
            && shard.in_flight.cancel(id)
        {
            shard.cancels.push_back(cancel(id, None));
        }
    }

    fn attach(&mut self, session: Session) {
        self.lose_shard("another connection took its place");
        self.shard = Some(Shard {
            session,
            in_flight: InFlight::default(),
            cancels: VecDeque::new(),
            load: None,
        });
        self.admission.connected.store(true, Ordering::Release);
        self.admission.outage.end();
    }

    /// Fails what the shard was working on. What waits in the queue goes on waiting.
    fn lose_shard(&mut self, reason: &str) {
        self.admission.connected.store(false, Ordering::Release);
        self.admission.outage.begin();
        if let Some(mut shard) = self.shard.take() {
            let message = format!("the shard was lost: {reason}");
            let error = ShardError {
                code: ShardErrorCode::Unavailable,
                message,
                retryable: true,
            };
            shard.in_flight.fail_all(&error);
            metrics::load(&pb::Load::default());
        }
    }

    fn on_event(&mut self, event: Option<Result<pb::EngineEvent, Status>>) {
        match event {
            Some(Ok(pb::EngineEvent { event })) => match event {
                Some(pb::engine_event::Event::Step(step)) => self.on_step(step),
                Some(pb::engine_event::Event::Load(load)) => self.on_load(load),
                None => metrics::unknown_event(),
            },
            Some(Err(status)) => self.lose_shard(status.message()),
            None => self.lose_shard("it ended the stream"),
        }
    }

    fn on_step(&mut self, step: pb::Step) {
        let Some(shard) = &mut self.shard else { return };
        let slack = self.admission.limits.slack;
        for run in step.prompt_logprobs {
            if let Some(id) = shard.in_flight.prompt(run) {
                shard.cancels.push_back(cancel(id, None));
            }
        }
        for progress in &step.progress {
            shard.in_flight.progress(progress);
        }
        for token in step.tokens {
            if let Some(id) = shard.in_flight.token(token, slack) {
                shard.cancels.push_back(cancel(id, None));
            }
        }
        for finished in step.finished {
            shard.in_flight.finished(finished);
        }
    }

    fn on_load(&mut self, load: pb::Load) {
        let Some(shard) = &mut self.shard else { return };
        metrics::load(&load);
        let now = Instant::now();
        if let Some((then, before)) = &shard.load {
            metrics::work(before, &load);
            if now - *then < BUSY_REPORTS {
                let done = prompt_tokens(&load).saturating_sub(prompt_tokens(before));
                self.admission.rate.measured(done, now - *then);
            }
        }
        shard.load = Some((now, load));
    }

    /// Where the next command goes, if there is one.
    fn commands_to_fill(&self) -> Option<mpsc::Sender<pb::RouterCommand>> {
        let shard = self.shard.as_ref()?;
        let admits = !self.queue.is_empty() && shard.free_credit() > 0;
        (admits || !shard.cancels.is_empty()).then(|| shard.session.commands.clone())
    }

    fn send_command(&mut self, permit: mpsc::OwnedPermit<pb::RouterCommand>) {
        let Some(shard) = &mut self.shard else { return };
        let command = match shard.cancels.pop_front() {
            Some(cancel) => pb::router_command::Command::Cancel(cancel),
            None => {
                let requests = shard.admit(&mut self.queue, &self.admission);
                if requests.is_empty() {
                    return;
                }
                pb::router_command::Command::Admit(pb::Admit { requests })
            }
        };
        permit.send(pb::RouterCommand {
            command: Some(command),
        });
    }

    /// Fails the entries that waited too long.
    fn expire(&mut self) {
        let queue_time = self.admission.limits.queue_time;
        while let Some(limit) = Instant::now().checked_sub(queue_time)
            && let Some(entry) = self.queue.pop_submitted_by(limit)
        {
            let error = if self.shard.is_some() {
                self.admission.overloaded(Limit::QueueTime(queue_time))
            } else {
                self.admission
                    .outage
                    .refusal("no shard was connected in time")
            };
            // Closed only when the client is gone.
            let _ = entry.events.try_send(Event::Failed(error));
        }
    }

    fn show_sizes(&mut self) {
        let in_flight = self.shard.as_ref().map_or(0, |shard| shard.in_flight.len());
        let (size, connected) = (self.queue.len(), self.shard.is_some());
        let shown = (size, in_flight, connected);
        if shown != self.shown {
            self.shown = shown;
            metrics::queue(size, self.admission.waiting.get(), in_flight, connected);
        }
    }
}

impl Shard {
    fn free_credit(&self) -> usize {
        let credit = self
            .load
            .as_ref()
            .map_or(0, |(_, load)| load.credit as usize);
        credit.saturating_sub(self.in_flight.len())
    }

    /// Takes from the queue what the credit and one message have room for.
    fn admit(&mut self, queue: &mut Queue, admission: &Admission) -> Vec<pb::Request> {
        let mut requests = Vec::new();
        let mut bytes = 0;
        while self.free_credit() > 0
            && bytes < ADMIT_BYTES
            && let Some(entry) = queue.pop()
        {
            self.in_flight.insert(&entry);
            let life = admission.limits.request_timeout;
            let request = wire::request(&entry, life.saturating_sub(entry.submitted.elapsed()));
            bytes += request.tokens.len();
            requests.push(request);
        }
        requests
    }
}

fn cancel(id: u64, keep_tokens: Option<u32>) -> pb::Cancel {
    pb::Cancel { id, keep_tokens }
}

/// Prompt tokens worked off, by computing them or by finding them in the cache.
fn prompt_tokens(load: &pb::Load) -> u64 {
    load.prefill_tokens + load.cached_tokens
}

async fn next_event(shard: Option<&mut Shard>) -> Option<Result<pb::EngineEvent, Status>> {
    match shard {
        Some(shard) => shard.session.next_event().await,
        None => pending().await,
    }
}

async fn reserve(
    commands: Option<mpsc::Sender<pb::RouterCommand>>,
) -> Result<mpsc::OwnedPermit<pb::RouterCommand>, SendError<()>> {
    match commands {
        Some(commands) => commands.reserve_owned().await,
        None => pending().await,
    }
}

async fn sleep_until_some(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}
