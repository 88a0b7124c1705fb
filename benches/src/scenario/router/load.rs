//! Requests over some connections for the time of a window.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use futures::future::try_join_all;

use super::millis;
use crate::client::{Answer, Client};

/// Time in which one server is loaded.
pub(super) const WINDOW: Duration = Duration::from_millis(500);

/// What is asked for.
#[derive(Debug, Clone)]
pub(super) enum Request {
    /// `GET /health`.
    Health,
    /// `POST /generate` with this body.
    Generate(Bytes),
}

impl Request {
    /// Sends it; an answer without success is an error.
    pub(super) async fn send(&self, client: &Client) -> Result<Answer> {
        let answer = match self {
            Self::Health => client.get("/health").await?,
            Self::Generate(body) => client.post_bytes("/generate", body.clone()).await?,
        };
        ensure!(answer.status.is_success(), "status {}", answer.status);
        Ok(answer)
    }
}

/// Rates of all windows, and times of all requests.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) rates: Vec<f64>,
    pub(super) times: Vec<f64>,
}

impl Outcome {
    pub(super) fn add(&mut self, times: Vec<f64>) {
        self.rates.push(times.len() as f64 / WINDOW.as_secs_f64());
        self.times.extend(times);
    }
}

/// Each connection sends a request when the one before is answered; milliseconds of each request.
pub(super) async fn busy(
    client: &Client,
    request: &Request,
    connections: usize,
) -> Result<Vec<f64>> {
    let end = Instant::now() + WINDOW;
    let connection = async || {
        let mut times = vec![];
        while Instant::now() < end {
            times.push(millis(request.send(client).await?.elapsed));
        }
        anyhow::Ok(times)
    };
    let times = try_join_all((0..connections).map(|_| connection())).await?;
    Ok(times.concat())
}

/// So many requests a second, spread evenly over the connections; milliseconds of each request. One
/// that the connection was not free for in time counts from the time at which it was due.
pub(super) async fn paced(
    client: &Client,
    request: &Request,
    connections: usize,
    per_second: f64,
) -> Result<Vec<f64>> {
    let began = Instant::now();
    let gap = Duration::from_secs_f64(connections as f64 / per_second);
    let connection = async |number: usize| {
        let mut times = vec![];
        let mut due = gap.mul_f64(number as f64 / connections as f64);
        while due < WINDOW {
            let early = due.saturating_sub(began.elapsed());
            if !early.is_zero() {
                tokio::time::sleep(early).await;
            }
            // The timer's own delay of up to a millisecond is not the server's.
            let sent = if early.is_zero() {
                due
            } else {
                began.elapsed()
            };
            request.send(client).await?;
            times.push(millis(began.elapsed().saturating_sub(sent)));
            due += gap;
        }
        anyhow::Ok(times)
    };
    let times = try_join_all((0..connections).map(connection)).await?;
    Ok(times.concat())
}
