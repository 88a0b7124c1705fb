//! Requests over some connections for the time of a window.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use futures::future::try_join_all;
use tokio::sync::mpsc;

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

/// So many requests a second, spread evenly in time and over the connections; milliseconds of each
/// request from when it was due, also where the connection was not free yet.
pub(super) async fn paced(
    client: &Client,
    request: &Request,
    connections: usize,
    per_second: f64,
) -> Result<Vec<f64>> {
    let count = (per_second * WINDOW.as_secs_f64()) as usize;
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..connections)
        .map(|_| mpsc::channel(count / connections + 1))
        .unzip();
    let pace = tokio::task::spawn_blocking(move || pace(count, per_second, &senders));
    let connection = async |mut due: mpsc::Receiver<Instant>| {
        let mut times = vec![];
        while let Some(due) = due.recv().await {
            request.send(client).await?;
            times.push(millis(due.elapsed()));
        }
        anyhow::Ok(times)
    };
    let times = try_join_all(receivers.into_iter().map(connection)).await?;
    pace.await?;
    Ok(times.concat())
}

/// Tells one connection after the other that a request is due. On a thread of its own: the timers of
/// tokio go by the millisecond, so that all requests of one would come at once.
fn pace(count: usize, per_second: f64, connections: &[mpsc::Sender<Instant>]) {
    let began = Instant::now();
    for (index, connection) in (0..count).zip(connections.iter().cycle()) {
        let due = Duration::from_secs_f64(index as f64 / per_second);
        std::thread::sleep(due.saturating_sub(began.elapsed()));
        // There is room for all; a connection that failed reports its own error.
        let _ = connection.try_send(Instant::now());
    }
}
