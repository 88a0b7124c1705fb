//! The times in which no shard serves: how long one lasts now, and how long the one before took.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use crate::error::ApiError;
use crate::rate::retry_after;

/// Begins when it is made: a server starts without a shard.
#[derive(Debug)]
pub(crate) struct Outage(Mutex<Times>);

#[derive(Debug)]
struct Times {
    /// Since when no shard serves; `None` while one does.
    since: Option<Instant>,
    /// How long the latest outage took that is over.
    last: Option<Duration>,
}

impl Outage {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Times {
            since: Some(Instant::now()),
            last: None,
        }))
    }

    /// A shard is lost; nothing changes if there was none.
    pub(crate) fn begin(&self) {
        self.times().since.get_or_insert_with(Instant::now);
    }

    /// A shard serves.
    pub(crate) fn end(&self) {
        let mut times = self.times();
        if let Some(since) = times.since.take() {
            times.last = Some(since.elapsed());
        }
    }

    /// The refusal of a request that no shard can take. It should come again when this outage has
    /// lasted as long as the one before; one that lasts longer, or is the first, is expected to take
    /// as long again as it took so far.
    pub(crate) fn refusal(&self, reason: &str) -> ApiError {
        ApiError::Unavailable {
            reason: reason.to_owned(),
            retry_after: retry_after(self.remaining()),
        }
    }

    fn remaining(&self) -> Duration {
        let times = self.times();
        let elapsed = times.since.map_or(Duration::ZERO, |since| since.elapsed());
        let remaining = times.last.and_then(|last| last.checked_sub(elapsed));
        remaining.unwrap_or(elapsed)
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_expected_to_take_as_long_as_the_one_before() {
        let outage = Outage::new();
        advance(4 * SECOND).await;
        assert_eq!(outage.remaining(), 4 * SECOND, "the first: as long again");
        advance(6 * SECOND).await;
        outage.end();
        advance(100 * SECOND).await;
        outage.begin();
        assert_eq!(outage.remaining(), 10 * SECOND);
        advance(3 * SECOND).await;
        outage.begin();
        assert_eq!(outage.remaining(), 7 * SECOND);
        advance(9 * SECOND).await;
        assert_eq!(
            outage.remaining(),
            12 * SECOND,
            "longer than the one before"
        );
        let refusal = outage.refusal("no shard");
        assert_eq!(refusal.to_string(), "no shard; try again in 12 s");
    }
}
