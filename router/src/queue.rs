//! Requests that wait for a shard, in order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;

use crate::generation::Event;
use crate::request::ValidRequest;

/// Held by everything that still works for a request; the server is free of the request when the
/// last of them lets go.
pub(crate) type Ticket = Arc<OwnedSemaphorePermit>;

/// A request on its way to a shard.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: u64,
    pub(crate) request: ValidRequest,
    /// Id of the HTTP request that it is a part of; empty outside of one.
    pub(crate) x_request_id: String,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) submitted: Instant,
    pub(crate) ticket: Ticket,
    /// The tokens' share of the bound on waiting tokens.
    pub(crate) _waiting: WaitingTokens,
}

/// First in, first out. Its owner is the dispatcher's task; it does no waiting of its own.
#[derive(Debug, Default)]
pub(crate) struct Queue(VecDeque<Entry>);

impl Queue {
    pub(crate) fn push(&mut self, entry: Entry) {
        self.0.push_back(entry);
    }

    /// The next entry whose client still listens; forgets those before it.
    pub(crate) fn pop(&mut self) -> Option<Entry> {
        std::iter::from_fn(|| self.0.pop_front()).find(|entry| !entry.events.is_closed())
    }

    /// Takes an entry out.
    pub(crate) fn remove(&mut self, id: u64) -> Option<Entry> {
        let at = self.0.iter().position(|entry| entry.id == id)?;
        self.0.remove(at)
    }

    /// When the entry that has waited longest was submitted.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.0.front().map(|entry| entry.submitted)
    }

    /// Takes out the first entry if it was submitted at `limit` or before.
    pub(crate) fn pop_submitted_by(&mut self, limit: Instant) -> Option<Entry> {
        self.oldest().filter(|&submitted| submitted <= limit)?;
        self.0.pop_front()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Entry> {
        self.0.drain(..)
    }
}

/// Counts prompt tokens that wait, up to a bound.
#[derive(Debug, Default)]
pub(crate) struct TokenCount(AtomicUsize);

/// A request's share of a [`TokenCount`]; given back by drop.
#[derive(Debug)]
pub(crate) struct WaitingTokens {
    count: Arc<TokenCount>,
    tokens: usize,
}

impl TokenCount {
    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Adds tokens unless the sum would pass `bound`. A request always fits when nothing waits,
    /// for no other moment would be better.
    pub(crate) fn add(self: &Arc<Self>, tokens: usize, bound: usize) -> Option<WaitingTokens> {
        let sum = |now: usize| (now == 0 || now + tokens <= bound).then_some(now + tokens);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum)
            .ok()?;
        Some(WaitingTokens {
            count: Arc::clone(self),
            tokens,
        })
    }
}

impl Drop for WaitingTokens {
    fn drop(&mut self) {
        self.count.0.fetch_sub(self.tokens, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
