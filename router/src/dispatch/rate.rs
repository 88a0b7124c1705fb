//! How fast the shard works prompts off.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Share of the latest measurement in the average.
const WEIGHT: f64 = 0.2;

/// Prompt tokens a second, averaged over the shard's recent reports while it had prompts to work
/// on. Stored as the bits of an f64; 0 means not measured yet.
#[derive(Debug, Default)]
pub(crate) struct Rate(AtomicU64);

impl Rate {
    /// Notes that `tokens` were worked off in `time`.
    pub(crate) fn measured(&self, tokens: u64, time: Duration) {
        if tokens == 0 || time.is_zero() {
            return;
        }
        let latest = tokens as f64 / time.as_secs_f64();
        let before = f64::from_bits(self.0.load(Ordering::Relaxed));
        let average = if before == 0.0 {
            latest
        } else {
            before + WEIGHT * (latest - before)
        };
        self.0.store(average.to_bits(), Ordering::Relaxed);
    }

    /// Time that `tokens` take; `None` before the first measurement.
    pub(crate) fn time_for(&self, tokens: usize) -> Option<Duration> {
        let rate = f64::from_bits(self.0.load(Ordering::Relaxed));
        (rate > 0.0).then(|| Duration::try_from_secs_f64(tokens as f64 / rate).ok())?
    }
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
}
