//! Starts a server for the time of a scenario.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use crate::client::Client;

const STARTUP_TIMEOUT: Duration = Duration::from_secs(300);
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);

/// A launcher that this process started. Dropping it kills the launcher.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Where it answers.
    pub(crate) url: String,
}

impl Server {
    /// Starts the launcher on a free port and waits until it is ready. Its output goes to standard
    /// error.
    ///
    /// # Errors
    /// When it cannot be started, ends, or is not ready in time.
    pub(crate) async fn start(launcher: &Path, arguments: &[&str]) -> Result<Self> {
        let port = free_port()?;
        let child = Command::new(launcher)
            .args(["--port", &port.to_string()])
            .args(arguments)
            // No load balancer is to be told of the end.
            .env("LAME_DUCK", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::from(std::io::stderr()))
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", launcher.display()))?;
        let mut server = Self {
            child,
            url: format!("http://127.0.0.1:{port}"),
        };
        server.wait_ready().await?;
        Ok(server)
    }

    async fn wait_ready(&mut self) -> Result<()> {
        let client = Client::new(&self.url);
        let deadline = Instant::now() + STARTUP_TIMEOUT;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                bail!("the launcher ended with {status}");
            }
            if let Ok(answer) = client.get("/health").await
                && answer.status.is_success()
            {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("the server was not ready after {STARTUP_TIMEOUT:?}");
    }

    /// The launcher's process, which is also the router's.
    #[must_use]
    pub(crate) fn pid(&self) -> Option<i32> {
        self.child.id().and_then(|id| i32::try_from(id).ok())
    }

    /// Ends the launcher and waits until it is gone.
    ///
    /// # Errors
    /// When it does not end in time; it is then killed.
    pub(crate) async fn stop(mut self) -> Result<()> {
        if let Some(pid) = self.pid() {
            kill(Pid::from_raw(pid), Signal::SIGTERM)?;
        }
        tokio::time::timeout(SHUTDOWN_TIMEOUT, self.child.wait())
            .await
            .context("the launcher ignored SIGTERM")??;
        Ok(())
    }
}

/// A port that nobody listens on.
///
/// # Errors
/// When there is none.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
