//! How fast work is done, and from that the time at which a refused client should come again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Share of the latest measurement in the average.
const WEIGHT: f64 = 0.2;
/// Longest pause that a client is asked for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// Units of work a second (tokens, bytes), averaged over recent measurements. Stored as the bits of
/// an f64; 0 means not measured yet.
#[derive(Debug, Default)]
pub(crate) struct Rate(AtomicU64);

impl Rate {
    /// Notes that so much work was done in `time`.
    pub(crate) fn measured(&self, work: u64, time: Duration) {
        if work == 0 || time.is_zero() {
            return;
        }
        let latest = work as f64 / time.as_secs_f64();
        let before = f64::from_bits(self.0.load(Ordering::Relaxed));
        let average = if before == 0.0 {
            latest
        } else {
            before + WEIGHT * (latest - before)
        };
        self.0.store(average.to_bits(), Ordering::Relaxed);
    }

    /// Time that so much work takes; `None` before the first measurement.
    pub(crate) fn time_for(&self, work: usize) -> Option<Duration> {
        let rate = f64::from_bits(self.0.load(Ordering::Relaxed));
        (rate > 0.0).then(|| Duration::try_from_secs_f64(work as f64 / rate).ok())?
    }

    /// When a client should come again that was refused because so much work waits.
    pub(crate) fn retry_after(&self, work: usize) -> Duration {
        retry_after(self.time_for(work).unwrap_or_default())
    }
}

/// A time to come again as the header says it: whole seconds, at least one and not too many.
pub(crate) fn retry_after(time: Duration) -> Duration {
    let seconds = time.as_secs_f64().ceil();
    let seconds = seconds.clamp(1.0, MAX_RETRY_AFTER.as_secs_f64());
    Duration::from_secs(seconds as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_what_it_measures() {
        let rate = Rate::default();
        assert_eq!(rate.time_for(100), None);
        rate.measured(1000, Duration::from_secs(1));
        assert_eq!(rate.time_for(5000), Some(Duration::from_secs(5)));
        rate.measured(0, Duration::from_secs(9));
        assert_eq!(rate.time_for(5000), Some(Duration::from_secs(5)));
        rate.measured(2000, Duration::from_secs(1));
        let time = rate.time_for(1200).expect("measured");
        assert!((time.as_secs_f64() - 1.0).abs() < 1e-9, "{time:?}");
    }

    #[test]
    fn the_time_to_come_again_grows_with_the_work_and_ends_somewhere() {
        let rate = Rate::default();
        assert_eq!(
            rate.retry_after(1_000_000).as_secs(),
            1,
            "nothing is known yet"
        );
        rate.measured(1000, Duration::from_secs(1));
        for (work, seconds) in [(0, 1), (1000, 1), (1001, 2), (59_500, 60), (10_000_000, 60)] {
            assert_eq!(rate.retry_after(work).as_secs(), seconds, "{work}");
        }
    }
}
