//! From a valid request to a running one: admission, the queue, and the requests at the shard.
//!
//! [`Dispatcher::submit`] decides at once whether the server takes a request. What it takes goes
//! to the model's one dispatch task, which owns the queue and everything in flight; see `actor`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use crate::config::RouterConfig;
use crate::error::{ApiError, Limit};
use crate::exchange;
use crate::generation::Generation;
use crate::metrics;
use crate::outage::Outage;
use crate::queue::{Entry, Ticket, TokenCount};
use crate::rate::Rate;
use crate::request::ValidRequest;
use crate::shard::session::Session;

mod actor;
mod in_flight;

use in_flight::Slack;

/// Messages that one request can send to the dispatch task: submit, stop, cancel. A request keeps
/// its ticket until they are read, so that a mailbox of this many a ticket is never full.
const MESSAGES_PER_REQUEST: usize = 3;
/// Places in the mailbox for messages of the shard's link.
const LINK_MESSAGES: usize = 4;

/// Handle of a model's dispatch task.
#[derive(Debug, Clone)]
pub struct Dispatcher {
    admission: Arc<Admission>,
    mailbox: mpsc::Sender<Message>,
}

/// What is known to everybody who submits.
#[derive(Debug)]
struct Admission {
    limits: DispatchLimits,
    permits: Arc<Semaphore>,
    waiting: Arc<TokenCount>,
    /// Prompt tokens worked off, while there were prompts to work on.
    rate: Rate,
    outage: Arc<Outage>,
    /// Whether a shard is connected.
    connected: AtomicBool,
    next_id: AtomicU64,
}

/// The bounds that dispatch keeps.
#[derive(Debug, Clone, Copy)]
struct DispatchLimits {
    requests: usize,
    queued_tokens: usize,
    queue_time: Duration,
    request_timeout: Duration,
    slack: Slack,
}

/// What the dispatch task is told.
#[derive(Debug)]
enum Message {
    Submit(Entry),
    /// The answer is complete after so many tokens.
    Stop(
        u64,
        u32,
        #[expect(dead_code, reason = "held until the message is read")] Ticket,
    ),
    /// Nobody waits for the answer.
    Cancel(
        u64,
        #[expect(dead_code, reason = "held until the message is read")] Ticket,
    ),
    /// A shard is connected; to be confirmed.
    Attach(Session, oneshot::Sender<()>),
    /// The model is replaced by another one.
    Close,
}

impl Dispatcher {
    /// Starts a dispatch task; it ends when the last handle and the last request are gone.
    pub(crate) fn start(config: &RouterConfig, outage: Arc<Outage>) -> Self {
        let limits = DispatchLimits {
            requests: config.limits.max_concurrent_requests,
            queued_tokens: config.limits.max_queued_tokens,
            queue_time: Duration::from_secs(config.limits.max_queue_seconds),
            request_timeout: Duration::from_secs(config.limits.request_timeout),
            slack: Slack {
                events: config.http.max_unread_events,
                stall: Duration::from_secs(config.http.write_stall_timeout),
            },
        };
        let (mailbox, messages) =
            mpsc::channel(limits.requests * MESSAGES_PER_REQUEST + LINK_MESSAGES);
        let admission = Arc::new(Admission {
            limits,
            permits: Arc::new(Semaphore::new(limits.requests)),
            waiting: Arc::default(),
            rate: Rate::default(),
            outage,
            connected: AtomicBool::new(false),
            next_id: AtomicU64::new(1),
        });
        tokio::spawn(actor::Actor::new(Arc::clone(&admission), messages).run());
        Self { admission, mailbox }
    }

    /// Takes a request, or refuses it at once.
    ///
    /// # Errors
    /// See [`crate::model::Model::submit`].
    pub fn submit(&self, request: ValidRequest) -> Result<Generation, ApiError> {
        let admission = &self.admission;
        let limits = admission.limits;
        if !self.is_connected() {
            return Err(admission.unavailable());
        }
        let permit = Arc::clone(&admission.permits).try_acquire_owned();
        let permit = permit.map_err(|_| admission.overloaded(Limit::Requests(limits.requests)))?;
        let waiting = admission
            .waiting
            .add(request.tokens.len(), limits.queued_tokens);
        let waiting = waiting
            .ok_or_else(|| admission.overloaded(Limit::QueuedTokens(limits.queued_tokens)))?;
        metrics::request_queued(request.tokens.len(), request.max_new_tokens);

        let id = admission.next_id.fetch_add(1, Ordering::Relaxed);
        let ticket = Arc::new(permit);
        // Room for all that the request can produce: the dispatch task never waits for a reader.
        let room = request.max_new_tokens as usize + in_flight::MAX_OTHER_EVENTS;
        let (sender, events) = mpsc::channel(room);
        let submitted = Instant::now();
        let control = Control {
            id,
            ticket: Arc::clone(&ticket),
            mailbox: self.mailbox.clone(),
        };
        let entry = Entry {
            id,
            request,
            x_request_id: exchange::current_request_id(),
            events: sender,
            submitted,
            ticket,
            _waiting: waiting,
        };
        self.mailbox
            .try_send(Message::Submit(entry))
            .map_err(|_| admission.unavailable())?;
        Ok(Generation::new(
            events,
            control,
            submitted,
            limits.request_timeout,
        ))
    }

    /// Hands a connected shard to the dispatch task; returns when it takes requests.
    pub(crate) async fn attach(&self, session: Session) {
        let (attached, confirmed) = oneshot::channel();
        self.tell(Message::Attach(session, attached)).await;
        confirmed
            .await
            .expect("the dispatch task confirms what it is told");
    }

    /// Refuses what comes and fails what waits.
    pub(crate) async fn close(&self) {
        self.tell(Message::Close).await;
    }

    async fn tell(&self, message: Message) {
        let told = self.mailbox.send(message).await;
        told.expect("the dispatch task lives as long as its handles");
    }

    /// Requests that the server holds.
    pub(crate) fn requests(&self) -> usize {
        self.admission.limits.requests - self.admission.permits.available_permits()
    }

    /// Whether the dispatch task works.
    pub(crate) fn is_alive(&self) -> bool {
        !self.mailbox.is_closed()
    }

    /// Whether a shard is connected.
    pub(crate) fn is_connected(&self) -> bool {
        self.admission.connected.load(Ordering::Acquire)
    }
}

impl Admission {
    /// The refusal because of a bound: to be tried again when the waiting prompts should be done.
    fn overloaded(&self, limit: Limit) -> ApiError {
        ApiError::Overloaded {
            limit,
            retry_after: self.rate.retry_after(self.waiting.get()),
        }
    }

    fn unavailable(&self) -> ApiError {
        self.outage
            .refusal("no shard is connected, the server is reconnecting")
    }
}

/// A request's line to the dispatch task.
#[derive(Debug)]
pub(crate) struct Control {
    id: u64,
    ticket: Ticket,
    mailbox: mpsc::Sender<Message>,
}

impl Control {
    pub(crate) fn stop(&self, keep_tokens: u32) {
        self.tell(Message::Stop(
            self.id,
            keep_tokens,
            Arc::clone(&self.ticket),
        ));
    }

    pub(crate) fn cancel(&self) {
        self.tell(Message::Cancel(self.id, Arc::clone(&self.ticket)));
    }

    fn tell(&self, message: Message) {
        // Full it cannot be; closed it is only when the runtime shuts down.
        let _ = self.mailbox.try_send(message);
    }
}
