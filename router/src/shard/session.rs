//! One `Serve` stream, on its way from the link, which opens it, to dispatch, which uses it.

use futures::StreamExt;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Status, Streaming};

use crate::pb;

/// An open `Serve` stream, the hello sent.
#[derive(Debug)]
pub(crate) struct Session {
    /// Holds one command: the next one is made when the line has room for it, out of all that has
    /// gathered by then.
    pub(crate) commands: mpsc::Sender<pb::RouterCommand>,
    events: Streaming<pb::EngineEvent>,
    end: CancellationToken,
    /// Tells the link when dispatch lets the session go.
    _guard: DropGuard,
}

impl Session {
    pub(super) fn new(
        commands: mpsc::Sender<pb::RouterCommand>,
        events: Streaming<pb::EngineEvent>,
        end: CancellationToken,
    ) -> Self {
        Self {
            commands,
            events,
            _guard: end.clone().drop_guard(),
            end,
        }
    }

    /// The next event; `None` when the stream has ended or the link has given it up. Cancel safe.
    pub(crate) async fn next_event(&mut self) -> Option<Result<pb::EngineEvent, Status>> {
        tokio::select! {
            event = self.events.next() => event,
            () = self.end.cancelled() => None,
        }
    }
}
