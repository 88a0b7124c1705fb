//! Memory of a router with many streams that wait for their next token.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use procfs::process::Process;
use serde_json::{Value, json};
use text_generation_router::mock_shard::{self, Answer, End, MockShard, Options};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::{goal, point, settle};
use crate::launch::free_port;
use crate::stats::rounded;

const STREAMS: usize = 10_000;
/// Streams that are opened at once.
const OPENING: usize = 64;
/// Connections and requests beyond the streams that the router takes.
const SPARE: usize = 64;
/// File descriptors of this process, which the router inherits.
const FILES: u64 = STREAMS as u64 + 1024;
const STARTUP_TIMEOUT: Duration = Duration::from_secs(30);
const MIB: f64 = (1 << 20) as f64;

/// Opens the streams, each with a first token, and reads the router's memory.
///
/// # Errors
/// When the router cannot be started or refuses a stream, or too few files may be open.
pub(super) async fn measure(router: &Path) -> Result<Value> {
    raise_file_limit()?;
    let folder = tempfile::tempdir()?;
    let mut options = Options::new(|_| Answer {
        end: End::Hang,
        ..Answer::tokens(vec![u32::from(b'a')])
    });
    options.credit = u32::try_from(STREAMS)?;
    let shard = MockShard::on_socket(&folder.path().join("shard.sock"), options)?;
    let (child, address) = start(router, folder.path(), shard.address()).await?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    let pid = pid.context("the router ended")?;
    let before = resident(pid)?;
    let opened = futures::stream::iter(0..STREAMS).map(|_| open_stream(address));
    let streams: Vec<TcpStream> = opened.buffer_unordered(OPENING).try_collect().await?;
    settle().await;
    let with_streams = resident(pid)?;
    let facts = json!({
        "streams": streams.len(), "rss_mib_before": rounded(before / MIB),
        "kib_a_stream": rounded((with_streams - before) / 1024.0 / STREAMS as f64),
    });
    Ok(point(goal::IDLE_MEMORY.point(with_streams / MIB), facts))
}

fn raise_file_limit() -> Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    ensure!(
        most >= FILES,
        "{STREAMS} streams need {FILES} open files, the hard limit (ulimit -Hn) is {most}"
    );
    Ok(setrlimit(Resource::RLIMIT_NOFILE, most, most)?)
}

/// A router process, which ends when the handle is dropped, and where it answers.
async fn start(router: &Path, folder: &Path, shard_address: &str) -> Result<(Child, SocketAddr)> {
    let mut config = mock_shard::config(shard_address);
    config.router.port = free_port()?;
    config.router.http.max_connections = STREAMS + SPARE;
    config.router.limits.max_concurrent_requests = STREAMS + SPARE;
    let path = folder.join("config.json");
    std::fs::write(&path, serde_json::to_vec(&config)?)?;
    let child = Command::new(router)
        .arg("--config")
        .arg(&path)
        .stdin(Stdio::null())
        .stdout(Stdio::from(std::io::stderr()))
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {}", router.display()))?;
    let address = SocketAddr::from(([127, 0, 0, 1], config.router.port));
    let deadline = Instant::now() + STARTUP_TIMEOUT;
    while let Err(error) = open_stream(address).await {
        ensure!(
            Instant::now() < deadline,
            "the router was not ready after {STARTUP_TIMEOUT:?}: {error:#}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok((child, address))
}

/// A stream whose first event came.
async fn open_stream(address: SocketAddr) -> Result<TcpStream> {
    const BODY: &str = r#"{"inputs": "An idle stream", "parameters": {"max_new_tokens": 64}}"#;
    let mut stream = TcpStream::connect(address).await?;
    let length = BODY.len();
    let request = format!(
        "POST /generate_stream HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{BODY}"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::with_capacity(1024);
    while !answer.windows(5).any(|window| window == b"data:") {
        let read = stream.read_buf(&mut answer).await?;
        let text = String::from_utf8_lossy(&answer);
        ensure!(
            read > 0 && !text.contains("error_type"),
            "no stream: {text}"
        );
    }
    Ok(stream)
}

/// Resident memory, in bytes.
fn resident(pid: i32) -> Result<f64> {
    let pages = Process::new(pid)?.statm()?.resident;
    Ok((pages * procfs::page_size()) as f64)
}
