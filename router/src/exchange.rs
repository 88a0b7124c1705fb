//! One HTTP exchange, from the arrival of a request to the last byte of its answer: what the log,
//! the metrics and the traces tell of it.
//!
//! [`observe`] makes an [`Exchange`] and reports it when it is over. In between, those to whom
//! something happens note it with the [`current`] one. Nothing that a client sent is kept, its
//! `x-request-id` apart.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::futures::TaskLocalFuture;
use tokio::time::Instant;

use crate::error::ApiError;
use crate::generation::Finished;
use crate::keys::Tenant;

mod log;
mod observe;
mod request_id;
mod route;
mod spans;

pub(crate) use observe::observe;
pub(crate) use route::Routes;

use route::Route;

tokio::task_local! {
    static CURRENT: Arc<Exchange>;
}

/// The exchange that this task works for; none outside of requests.
pub(crate) fn current() -> Option<Arc<Exchange>> {
    CURRENT.try_with(Arc::clone).ok()
}

/// The id of the request that this task works for; empty outside of requests.
pub(crate) fn current_request_id() -> String {
    current().map_or_else(String::new, |exchange| exchange.request_id.clone())
}

/// What is known of a request.
#[derive(Debug)]
pub(crate) struct Exchange {
    request_id: String,
    route: Route,
    arrived: Instant,
    notes: Mutex<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    tenant: Option<Tenant>,
    failure: Option<Failure>,
    /// When the request was checked, rendered and tokenized.
    prepared: Option<(Instant, Instant)>,
    generations: Vec<Generated>,
}

/// Why a request was refused, or failed.
#[derive(Debug, Clone)]
struct Failure {
    kind: &'static str,
    /// What the operator is told beside; never what a client sent.
    cause: Option<String>,
}

/// A generation that is over.
#[derive(Debug)]
pub(crate) struct Generated {
    /// When the queue took it.
    pub(crate) submitted: Instant,
    /// When it was over.
    pub(crate) ended: Instant,
    /// How it ended; nothing when it failed or its client left.
    pub(crate) finished: Option<Finished>,
}

impl Exchange {
    fn new(request_id: String, route: Route) -> Self {
        Self {
            request_id,
            route,
            arrived: Instant::now(),
            notes: Mutex::default(),
        }
    }

    /// Runs a future as part of this exchange.
    fn scope<F: Future>(self: &Arc<Self>, work: F) -> TaskLocalFuture<Arc<Self>, F> {
        CURRENT.scope(Arc::clone(self), work)
    }

    /// Notes on whose behalf the request comes.
    pub(crate) fn comes_from(&self, tenant: &Tenant) {
        self.notes().tenant = Some(tenant.clone());
    }

    /// Notes why the request gets no answer. The first reason stands.
    pub(crate) fn failed(&self, error: &ApiError) {
        self.notes().failure.get_or_insert_with(|| Failure {
            kind: error.error_type(),
            cause: error.is_the_servers().then(|| error.to_string()),
        });
    }

    /// Notes from when to when the request was made ready for the queue.
    pub(crate) fn prepared(&self, start: Instant, end: Instant) {
        self.notes().prepared = Some((start, end));
    }

    /// Notes a generation.
    pub(crate) fn generated(&self, generated: Generated) {
        self.notes().generations.push(generated);
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
