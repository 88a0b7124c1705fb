//! One JSON line a scenario, on standard output.

use std::io::Write;
use std::process::Command;

use anyhow::Result;
use serde::Serialize;
use serde_json::Value;

/// A scenario's outcome.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Its name.
    pub(crate) scenario: &'static str,
    /// The checked-out commit, where git knows one.
    pub(crate) commit: Option<String>,
    /// What was measured, and on what.
    pub(crate) params: Value,
    /// One object a measured point.
    pub(crate) points: Vec<Value>,
}

impl Report {
    /// Stamps the outcome with the commit.
    #[must_use]
    pub(crate) fn new(scenario: &'static str, params: Value, points: Vec<Value>) -> Self {
        Self {
            scenario,
            commit: commit(),
            params,
            points,
        }
    }

    /// Writes the line.
    ///
    /// # Errors
    /// When standard output is closed.
    pub(crate) fn print(&self) -> Result<()> {
        let line = serde_json::to_string(self)?;
        Ok(writeln!(std::io::stdout(), "{line}")?)
    }
}

fn commit() -> Option<String> {
    let output = Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
