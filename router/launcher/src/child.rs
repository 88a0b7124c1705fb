//! One shard process: how it is started, what it prints, how it ends.
//!
//! A shard must never outlive the launcher, not even one killed with -9. Three ways lead there:
//! the kernel kills it when the thread that started it dies, its standard input closes, and
//! [`Shard::kill`] takes its whole process group.

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal, PipeReader, Read, Write};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, getpid, getppid};
use serde_json::{Map, Value};
use text_generation_router::logging::NonBlocking;
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::Level;
use tracing_subscriber::filter::Targets;

use crate::error::LaunchError;
use crate::tail::{LineBuffer, Tail};

const PROGRAM: &str = "text-generation-server";
/// How long the output of an ended shard is waited for: a grandchild may hold the pipe open.
const OUTPUT_GRACE: Duration = Duration::from_secs(1);
/// Target of what shards print beside their log.
const SHARD: &str = "shard";
const OUTPUT_CHUNK_BYTES: usize = 8192;

/// Where a shard's output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// To the launcher's terminal, directly: progress bars see a terminal.
    Terminal,
    /// To the launcher's standard error, byte for byte.
    Plain,
    /// To the launcher's standard error, one JSON object a line.
    Json,
}

/// Least level that a shard logs, by its name in Python.
#[derive(Debug, Clone, Copy)]
pub struct ShardLevel(&'static str);

impl ShardLevel {
    /// The level of the target `shard`.
    #[must_use]
    pub fn of(levels: &Targets) -> Self {
        let names = [
            (Level::DEBUG, "DEBUG"),
            (Level::INFO, "INFO"),
            (Level::WARN, "WARNING"),
        ];
        let logged = |(level, _): &&(Level, _)| levels.would_enable(SHARD, level);
        Self(names.iter().find(logged).map_or("ERROR", |(_, name)| name))
    }
}

impl Output {
    /// The choice for this process.
    #[must_use]
    pub fn choose(json: bool) -> Self {
        if json {
            Self::Json
        } else if io::stderr().is_terminal() {
            Self::Terminal
        } else {
            Self::Plain
        }
    }
}

/// The shard program: the one beside this program, else the one on PATH.
fn shard_program() -> OsString {
    let beside = std::env::current_exe()
        .map(|launcher| launcher.with_file_name(PROGRAM))
        .ok()
        .filter(|path| path.is_file());
    beside.map_or_else(|| PROGRAM.into(), OsString::from)
}

/// Runs the shard program to its end and reads the JSON object that it prints. What it logs goes
/// to standard error.
///
/// # Errors
/// [`LaunchError::ServerMissing`], [`LaunchError::Spawn`], [`LaunchError::ShardFailed`].
pub fn ask_shard(arguments: &[&OsStr]) -> Result<Map<String, Value>, LaunchError> {
    let output = std::process::Command::new(shard_program())
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(cannot_start)?;
    let failed = || LaunchError::ShardFailed {
        rank: 0,
        status: output.status,
        tail: String::new(),
    };
    if !output.status.success() {
        return Err(failed());
    }
    serde_json::from_slice(&output.stdout).map_err(|_| failed())
}

fn cannot_start(error: io::Error) -> LaunchError {
    match error.kind() {
        io::ErrorKind::NotFound => LaunchError::ServerMissing,
        _ => LaunchError::Spawn(error),
    }
}

/// How shards are started.
#[derive(Debug)]
pub struct ShardCommand {
    pub(crate) program: OsString,
    pub(crate) config: PathBuf,
    pub(crate) output: Output,
    pub(crate) level: ShardLevel,
    pub(crate) log: NonBlocking,
}

impl ShardCommand {
    /// Shards that read the configuration at `config`: the program beside this one, else on PATH.
    /// What they print goes to `log`, unless that is a terminal.
    #[must_use]
    pub fn new(config: PathBuf, (output, level): (Output, ShardLevel), log: NonBlocking) -> Self {
        Self {
            program: shard_program(),
            config,
            output,
            level,
            log,
        }
    }

    /// Starts one rank.
    ///
    /// Call it on a thread that lives as long as the launcher: the kernel kills the shard when the
    /// *thread* that started it dies.
    ///
    /// # Errors
    /// [`LaunchError::ServerMissing`], [`LaunchError::Spawn`].
    pub fn spawn(&self, rank: u32) -> Result<Shard, LaunchError> {
        self.start(rank).map_err(cannot_start)
    }

    fn start(&self, rank: u32) -> io::Result<Shard> {
        let mut command = Command::new(&self.program);
        command
            .args(["serve", "--exit-with-stdin", "--rank"])
            .arg(rank.to_string())
            .arg("--config")
            .arg(&self.config)
            .args(["--logger-level", self.level.0])
            .args((self.output == Output::Json).then_some("--json-output"))
            .env_remove("API_KEY")
            .env_remove("API_KEYS")
            .stdin(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        die_with_parent(&mut command);
        let pipe = self.redirect(&mut command)?;
        let mut child = command.spawn()?;
        // The command holds the pipe's write ends: the reader would never see the end.
        drop(command);
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        Ok(Shard {
            rank,
            group: Pid::from_raw(pid.expect("a child that was not waited for has a pid")),
            death_pipe: child.stdin.take(),
            output: pipe
                .map(|pipe| CapturedOutput::forward(pipe, rank, self.output, self.log.clone()))
                .transpose()?,
            child,
        })
    }

    /// Both output streams into one pipe, in order; none where they go to the terminal.
    fn redirect(&self, command: &mut Command) -> io::Result<Option<PipeReader>> {
        if self.output == Output::Terminal {
            // Standard output is the launcher's own: its readers expect the plan and the address.
            command.stdout(io::stderr()).stderr(Stdio::inherit());
            return Ok(None);
        }
        let (reader, writer) = io::pipe()?;
        command.stdout(writer.try_clone()?).stderr(writer);
        Ok(Some(reader))
    }
}

/// Has the kernel kill the child when this thread dies.
fn die_with_parent(command: &mut Command) {
    let parent = getpid();
    let in_child = move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // The parent may have died before the line above took effect.
        if getppid() == parent {
            Ok(())
        } else {
            Err(Errno::ESRCH.into())
        }
    };
    // SAFETY: between fork and exec only async-signal-safe functions may run; the closure makes
    // two system calls, allocates nothing and takes no lock.
    #[expect(
        unsafe_code,
        reason = "prctl must run in the child, between fork and exec"
    )]
    unsafe {
        command.pre_exec(in_child);
    }
}

/// A running shard, killed on drop.
#[derive(Debug)]
pub struct Shard {
    rank: u32,
    /// Process group of the shard and of all it starts.
    group: Pid,
    child: Child,
    /// Open while the launcher lives; its end tells the shard that it does not.
    death_pipe: Option<ChildStdin>,
    output: Option<CapturedOutput>,
}

impl Shard {
    /// Its rank.
    #[must_use]
    pub fn rank(&self) -> u32 {
        self.rank
    }

    /// Waits for the end of the process. Safe to cancel and to repeat.
    pub async fn exited(&mut self) -> ExitStatus {
        // Waiting fails only for a process that is not our child.
        self.child
            .wait()
            .await
            .expect("a shard is a child of the launcher")
    }

    /// Asks it to end, gives it `grace`, then takes its process group.
    pub async fn stop(&mut self, grace: Duration) {
        self.signal(Signal::SIGTERM);
        let ended = timeout(grace, self.exited()).await;
        if ended.is_err() {
            tracing::warn!(
                rank = self.rank,
                "shard did not end in {} s: killed",
                grace.as_secs()
            );
        }
        self.kill().await;
    }

    /// Ends it and all it started.
    pub async fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.death_pipe = None;
        self.exited().await;
    }

    /// Its last lines as text that follows an error's first line. Call it when it has ended.
    pub async fn last_lines(&mut self) -> String {
        match &mut self.output {
            Some(output) => output.last_lines().await,
            None => ": its own lines above say why".to_owned(),
        }
    }

    fn signal(&self, signal: Signal) {
        // Fails only where no process of the group is left.
        let _ = killpg(self.group, signal);
    }
}

/// The output of a shard, passed on by a thread of its own. Where the log's reader stalls, lines are
/// dropped: the shard would stand still with a full pipe.
#[derive(Debug)]
struct CapturedOutput {
    tail: Arc<Mutex<Tail>>,
    ended: oneshot::Receiver<()>,
}

impl CapturedOutput {
    fn forward(pipe: PipeReader, rank: u32, output: Output, log: NonBlocking) -> io::Result<Self> {
        let tail = Arc::new(Mutex::new(Tail::default()));
        let (ending, ended) = oneshot::channel();
        let kept = Arc::clone(&tail);
        thread::Builder::new()
            .name(format!("shard-{rank}-output"))
            .spawn(move || {
                pass_on(pipe, rank, (output, log), &kept);
                drop(ending);
            })?;
        Ok(Self { tail, ended })
    }

    async fn last_lines(&mut self) -> String {
        // Either way out of the wait will do: what is there is what can be shown.
        let _ = timeout(OUTPUT_GRACE, &mut self.ended).await;
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        format!("; its last lines:{tail}")
    }
}

/// Copies the pipe until it ends.
fn pass_on(
    mut pipe: PipeReader,
    rank: u32,
    (output, mut log): (Output, NonBlocking),
    tail: &Mutex<Tail>,
) {
    let mut lines = LineBuffer::default();
    let mut chunk = [0; OUTPUT_CHUNK_BYTES];
    while let Ok(length @ 1..) = pipe.read(&mut chunk) {
        let bytes = &chunk[..length];
        if output == Output::Plain {
            // Never fails: what finds no room is dropped.
            let _ = log.write_all(bytes);
        }
        lines.push(bytes, |line| {
            if output == Output::Json {
                pass_on_json(&line, rank, &mut log);
            }
            tail.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(line);
        });
    }
}

/// Writes a line of a shard as JSON, which its log lines are already; what libraries print is not.
fn pass_on_json(line: &str, rank: u32, log: &mut NonBlocking) {
    match serde_json::from_str::<Map<String, Value>>(line) {
        // In one piece, between other lines. As above.
        Ok(_) => drop(log.write_all(format!("{line}\n").as_bytes())),
        Err(_) => tracing::info!(target: SHARD, rank, "{line}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_logs_from_the_level_that_the_directives_give_it() {
        let level = |directives: &str| ShardLevel::of(&directives.parse().expect("directives")).0;
        assert_eq!(level("info"), "INFO");
        assert_eq!(level("trace"), "DEBUG");
        assert_eq!(level("info,shard=warn"), "WARNING");
        assert_eq!(level("off"), "ERROR");
    }
}
