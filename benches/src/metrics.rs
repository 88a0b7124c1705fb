//! What a server says and shows of its own work: Prometheus text, and CPU time from /proc.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result};
use procfs::process::{Process, all_processes};

use crate::client::Client;

/// The values of one scrape, summed over labels.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Scrape(HashMap<String, f64>);

impl Scrape {
    /// Reads `/metrics`.
    ///
    /// # Errors
    /// When the server does not answer.
    pub(crate) async fn of(client: &Client) -> Result<Self> {
        let answer = client.get("/metrics").await?;
        Ok(Self::parse(&String::from_utf8_lossy(&answer.body)))
    }

    fn parse(text: &str) -> Self {
        let mut values = HashMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else {
                continue;
            };
            let name = series.split('{').next().unwrap_or(series);
            *values.entry(name.to_owned()).or_insert(0.0) += value.parse().unwrap_or(0.0);
        }
        Self(values)
    }

    /// A metric's value.
    ///
    /// # Errors
    /// When the server has no such metric.
    pub(crate) fn get(&self, name: &str) -> Result<f64> {
        let value = self.0.get(name);
        value
            .copied()
            .with_context(|| format!("the server has no metric {name}"))
    }

    /// The growth of a counter since an earlier scrape, in which it may have been absent.
    ///
    /// # Errors
    /// When the server has no such metric now.
    pub(crate) fn since(&self, earlier: &Self, name: &str) -> Result<f64> {
        Ok(self.get(name)? - earlier.get(name).unwrap_or(0.0))
    }
}

/// CPU time, user and system, that the router and the shards have used.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CpuTime {
    /// The launcher's process, which holds the router.
    pub(crate) router: Duration,
    /// Its children.
    pub(crate) shards: Duration,
}

impl CpuTime {
    /// Of the launcher `pid` and its children so far.
    ///
    /// # Errors
    /// When the process is gone.
    pub(crate) fn of(pid: i32) -> Result<Self> {
        let router = used(&Process::new(pid)?)?;
        let shards = all_processes()?
            .flatten()
            .filter(|process| process.stat().is_ok_and(|stat| stat.ppid == pid))
            .filter_map(|process| used(&process).ok())
            .sum();
        Ok(Self { router, shards })
    }
}

fn used(process: &Process) -> Result<Duration> {
    let stat = process.stat()?;
    let ticks = (stat.utime + stat.stime) as f64;
    Ok(Duration::from_secs_f64(
        ticks / procfs::ticks_per_second() as f64,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_a_metric_over_its_labels() {
        let scrape = Scrape::parse("# TYPE a counter\na{x=\"1 2\"} 3\na{x=\"2\"} 4.5\nb 1e3\n");
        assert_eq!(scrape.get("a").unwrap(), 7.5);
        assert_eq!(scrape.get("b").unwrap(), 1000.0);
        assert!(scrape.get("c").is_err());
    }

    #[test]
    fn an_absent_counter_began_at_zero() {
        let later = Scrape::parse("a 3\n");
        assert_eq!(later.since(&Scrape::default(), "a").unwrap(), 3.0);
        assert!(Scrape::default().since(&later, "a").is_err());
    }
}
