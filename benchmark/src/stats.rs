//! Summaries of repeated measurements.

use serde::Serialize;

/// What is reported of a series. All but `n` and `spread` in the unit of its name.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Measurements.
    pub n: usize,
    /// Median.
    pub p50: f64,
    /// The value that 99 % do not exceed.
    pub p99: f64,
    /// Least and greatest.
    pub min: f64,
    /// See `min`.
    pub max: f64,
    /// Distance between the quartiles, as a share of the median.
    pub spread: f64,
}

impl Summary {
    /// Of a series with at least one value.
    #[must_use]
    pub fn of(mut values: Vec<f64>) -> Self {
        assert!(!values.is_empty(), "a summary needs a measurement");
        values.sort_by(f64::total_cmp);
        let p50 = quantile(&values, 0.5);
        let quartiles = quantile(&values, 0.75) - quantile(&values, 0.25);
        Self {
            n: values.len(),
            p50: rounded(p50),
            p99: rounded(quantile(&values, 0.99)),
            min: rounded(values[0]),
            max: rounded(values[values.len() - 1]),
            spread: rounded(if p50 == 0.0 { 0.0 } else { quartiles / p50 }),
        }
    }
}

/// Nearest rank of sorted values.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// Four digits after the point: below the noise of every unit used here.
#[must_use]
pub fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_nearest_rank() {
        let summary = Summary::of((1..=200).rev().map(f64::from).collect());
        assert_eq!((summary.p50, summary.p99), (100.0, 198.0));
        assert_eq!((summary.min, summary.max, summary.n), (1.0, 200.0, 200));
        assert_eq!(summary.spread, 1.0);
    }

    #[test]
    fn of_one_value_is_that_value() {
        let summary = Summary::of(vec![7.0]);
        assert_eq!((summary.p50, summary.p99, summary.spread), (7.0, 7.0, 0.0));
    }
}
