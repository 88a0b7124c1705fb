//! SIGTERM and SIGINT: the first drains, the second stops at once.

use std::io;

use text_generation_router::serve::Shutdown;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// The stop signals that came in.
#[derive(Debug, Clone)]
pub struct StopSignals(watch::Receiver<Seen>);

/// How many came, and what the first asked for.
#[derive(Debug, Clone, Copy)]
struct Seen {
    count: u32,
    first: Shutdown,
}

impl StopSignals {
    /// Starts to listen; from here on the signals no longer end the process by themselves.
    ///
    /// # Errors
    /// When the system refuses a handler.
    pub fn listen() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        let (sender, receiver) = watch::channel(Seen {
            count: 0,
            first: Shutdown::Announced,
        });
        tokio::spawn(count(terminate, interrupt, sender));
        Ok(Self(receiver))
    }

    /// Waits for the first signal: finish what runs. SIGTERM comes from what runs the server, and
    /// load balancers want to hear of it first; SIGINT from somebody who waits at a terminal.
    pub async fn first(mut self) -> Shutdown {
        match self.0.wait_for(|seen| seen.count >= 1).await {
            Ok(seen) => seen.first,
            // Cannot be: the counting task outlives every receiver.
            Err(_) => Shutdown::AtOnce,
        }
    }

    /// Waits for the second signal: stop at once.
    pub async fn second(mut self) {
        let _ = self.0.wait_for(|seen| seen.count >= 2).await;
    }

    /// Whether a signal has come.
    pub(crate) fn stopping(&self) -> bool {
        self.0.borrow().count >= 1
    }
}

async fn count(mut terminate: Signal, mut interrupt: Signal, seen: watch::Sender<Seen>) {
    loop {
        let asked = tokio::select! {
            _ = terminate.recv() => Shutdown::Announced,
            _ = interrupt.recv() => Shutdown::AtOnce,
        };
        seen.send_modify(|seen| {
            if seen.count == 0 {
                seen.first = asked;
            }
            seen.count += 1;
        });
        if seen.borrow().count == 1 {
            tracing::info!("stopping: running requests may finish; a second signal cuts them off");
        }
    }
}
