//! SIGTERM and SIGINT: the first drains, the second stops at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Counts the stop signals that came in.
#[derive(Debug, Clone)]
pub struct StopSignals(watch::Receiver<u32>);

impl StopSignals {
    /// Starts to listen; from here on the signals no longer end the process by themselves.
    ///
    /// # Errors
    /// When the system refuses a handler.
    pub fn listen() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        let (sender, receiver) = watch::channel(0);
        tokio::spawn(count(terminate, interrupt, sender));
        Ok(Self(receiver))
    }

    /// Waits for the first signal: finish what runs.
    pub async fn first(mut self) {
        // The counting task outlives every receiver, so the channel cannot close.
        let _ = self.0.wait_for(|count| *count >= 1).await;
    }

    /// Waits for the second signal: stop at once.
    pub async fn second(mut self) {
        let _ = self.0.wait_for(|count| *count >= 2).await;
    }

    /// Whether a signal has come.
    pub(crate) fn stopping(&self) -> bool {
        *self.0.borrow() >= 1
    }
}

async fn count(mut terminate: Signal, mut interrupt: Signal, count: watch::Sender<u32>) {
    loop {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        count.send_modify(|count| *count += 1);
        if *count.borrow() == 1 {
            tracing::info!("stopping: running requests may finish; a second signal cuts them off");
        }
    }
}
