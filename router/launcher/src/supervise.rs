//! Keeps the shards running: all ranks live and die together.
//!
//! A failure before the model was ever ready ends the launch, for it would only repeat itself.
//! Later ones restart the group after a pause, until they come too often.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use futures::future::{join_all, pending, select_all};
use text_generation_router::metrics;
use text_generation_router::serve::Readiness;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::child::{Shard, ShardCommand};
use crate::error::LaunchError;
use crate::run_dir::remove_sockets;
use crate::signals::StopSignals;

#[cfg(test)]
mod tests;

/// Failures within `FAILURE_WINDOW` at which the launcher gives up.
const MAX_FAILURES: usize = 5;
const FAILURE_WINDOW: Duration = Duration::from_secs(600);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const PAUSE_FACTOR: u32 = 3;
/// A shard that was ready and then fails its health checks this long is stuck.
const UNHEALTHY_LIMIT: Duration = Duration::from_secs(120);
/// What a shard gets to end by itself after SIGTERM.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// What one server's shards are.
#[derive(Debug)]
pub struct GroupSpec {
    /// How a rank is started.
    pub command: ShardCommand,
    /// Ranks in the group.
    pub ranks: u32,
    /// Folder of their sockets.
    pub run_dir: PathBuf,
    /// Time they have to be ready.
    pub startup_timeout: Duration,
}

/// Owner of the shard processes.
#[derive(Debug)]
pub struct Supervisor {
    spec: GroupSpec,
    readiness: watch::Receiver<Readiness>,
    signals: StopSignals,
    shards: Vec<Shard>,
    failures: Failures,
    was_ready: bool,
}

/// Why a group must go.
enum Failure {
    Exited(u32, ExitStatus),
    NotReady,
    Stuck,
}

impl Supervisor {
    /// A supervisor without processes yet. `readiness` is the router's view of rank 0.
    #[must_use]
    pub fn new(
        spec: GroupSpec,
        readiness: watch::Receiver<Readiness>,
        signals: StopSignals,
    ) -> Self {
        Self {
            spec,
            readiness,
            signals,
            shards: Vec::new(),
            failures: Failures::default(),
            was_ready: false,
        }
    }

    /// Starts the shards and keeps them running; returns when that is hopeless. Once a stop was
    /// asked for nothing is restarted.
    ///
    /// Must be polled on a thread that lives as long as the launcher, see [`ShardCommand::spawn`].
    pub async fn run(&mut self) -> LaunchError {
        loop {
            if let Err(error) = self.start() {
                return error;
            }
            let failure = self.watch().await;
            if self.signals.stopping() {
                return pending().await;
            }
            let error = self.take_down(failure).await;
            if !self.was_ready {
                return error;
            }
            let Some(pause) = self.failures.record(Instant::now()) else {
                return LaunchError::FailingAgain {
                    failures: MAX_FAILURES,
                    window: FAILURE_WINDOW,
                    reason: error.to_string(),
                };
            };
            tracing::error!("{error}; restarting in {} s", pause.as_secs());
            sleep(pause).await;
            metrics::shard_restarted();
        }
    }

    /// Asks every shard to end and waits until all have.
    pub async fn stop(&mut self) {
        join_all(self.shards.iter_mut().map(|shard| shard.stop(STOP_GRACE))).await;
    }

    /// Ends every shard at once.
    pub async fn kill(&mut self) {
        join_all(self.shards.iter_mut().map(Shard::kill)).await;
    }

    fn start(&mut self) -> Result<(), LaunchError> {
        remove_sockets(&self.spec.run_dir, self.spec.ranks);
        self.shards.clear();
        for rank in 0..self.spec.ranks {
            self.shards.push(self.spec.command.spawn(rank)?);
        }
        Ok(())
    }

    /// Waits for the group's failure.
    async fn watch(&mut self) -> Failure {
        let exit = select_all(self.shards.iter_mut().map(|shard| {
            Box::pin(async move { Failure::Exited(shard.rank(), shard.exited().await) })
        }));
        let health = watch_health(
            &mut self.readiness,
            self.spec.startup_timeout,
            &mut self.was_ready,
        );
        tokio::select! {
            (failure, ..) = exit => failure,
            failure = health => failure,
        }
    }

    /// Ends what is left of the group and says why it had to go.
    async fn take_down(&mut self, failure: Failure) -> LaunchError {
        self.kill().await;
        let rank = if let Failure::Exited(rank, _) = failure {
            rank
        } else {
            0
        };
        let shard = self.shards.iter_mut().find(|shard| shard.rank() == rank);
        let tail = match shard {
            Some(shard) => shard.last_lines().await,
            None => String::new(),
        };
        match failure {
            Failure::Exited(rank, status) if self.was_ready => {
                LaunchError::ShardDied { rank, status }
            }
            Failure::Exited(rank, status) => LaunchError::ShardFailed { rank, status, tail },
            Failure::NotReady => LaunchError::Deadline {
                limit: self.spec.startup_timeout,
                tail,
            },
            Failure::Stuck => LaunchError::Stuck {
                limit: UNHEALTHY_LIMIT,
            },
        }
    }
}

/// Returns when the group is not ready in time, or was and then is not for too long.
async fn watch_health(
    readiness: &mut watch::Receiver<Readiness>,
    startup_timeout: Duration,
    was_ready: &mut bool,
) -> Failure {
    if !becomes(readiness, true, startup_timeout).await {
        return Failure::NotReady;
    }
    *was_ready = true;
    loop {
        becomes(readiness, false, Duration::MAX).await;
        if !becomes(readiness, true, UNHEALTHY_LIMIT).await {
            return Failure::Stuck;
        }
    }
}

/// Whether readiness turns to `wanted` within the limit.
async fn becomes(
    readiness: &mut watch::Receiver<Readiness>,
    wanted: bool,
    limit: Duration,
) -> bool {
    let turned = readiness.wait_for(|now| matches!(now, Readiness::Ready) == wanted);
    match timeout(limit, turned).await {
        Ok(Ok(_)) => true,
        // The router has ended: the launch ends with it, and no shard is to blame.
        Ok(Err(_)) => pending().await,
        Err(_) => false,
    }
}

/// The recent failures.
#[derive(Debug, Default)]
struct Failures(VecDeque<Instant>);

impl Failures {
    /// Counts one. Returns the pause before the next start, or none when it is time to give up.
    fn record(&mut self, now: Instant) -> Option<Duration> {
        self.0
            .retain(|failure| now.duration_since(*failure) < FAILURE_WINDOW);
        self.0.push_back(now);
        let earlier = u32::try_from(self.0.len() - 1).ok()?;
        let pause = FIRST_PAUSE * PAUSE_FACTOR.pow(earlier);
        (self.0.len() < MAX_FAILURES).then_some(pause.min(LONGEST_PAUSE))
    }
}
