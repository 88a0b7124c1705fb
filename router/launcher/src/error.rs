//! What can end a launch, and the exit code that tells which.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use text_generation_router::keys::KeysError;
use text_generation_router::serve::ServeError;

use crate::resolve::Mistakes;

/// Exit code of wrong flags or values.
pub const EXIT_CONFIG: u8 = 64;
/// Exit code of a model that cannot be loaded.
pub const EXIT_MODEL: u8 = 66;
/// Exit code of an address that cannot be listened on.
pub const EXIT_ADDRESS: u8 = 69;
/// Exit code of a shard that cannot be started or kept running, or of a router that failed.
pub const EXIT_FAILED: u8 = 70;
/// Exit code of a run directory that cannot be made.
pub const EXIT_RUN_DIR: u8 = 73;
/// Exit code of a shard that was not ready in time.
pub const EXIT_DEADLINE: u8 = 75;
/// Exit code of a stop that a second signal cut short.
pub const EXIT_INTERRUPTED: u8 = 130;

/// What each exit code means: the text of `--help` and of the docs.
pub(crate) const EXIT_CODES: &[(u8, &str)] = &[
    (
        0,
        "stopped by SIGTERM or SIGINT after running requests had finished",
    ),
    (EXIT_CONFIG, "a flag or a value is wrong"),
    (EXIT_MODEL, "the model cannot be found, read or run"),
    (
        EXIT_ADDRESS,
        "the address cannot be listened on, for example because the port is in use",
    ),
    (
        EXIT_FAILED,
        "a shard failed at its first start, or five times in ten minutes; or the router failed",
    ),
    (EXIT_RUN_DIR, "no run directory can be made under TMPDIR"),
    (
        EXIT_DEADLINE,
        "the model was not ready within --startup-timeout",
    ),
    (
        EXIT_INTERRUPTED,
        "a second signal stopped the server at once",
    ),
];

/// The reason why the launcher ended, other than one SIGTERM or SIGINT.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// Flags contradict each other or are out of range.
    #[error("the configuration has mistakes:{0}")]
    Config(Mistakes),
    /// The file of keys cannot be used.
    #[error("--api-keys-file: {0}")]
    Keys(#[source] KeysError),
    /// The port is taken, or the address is not one of this machine's.
    #[error("cannot listen on {address}: {source}: choose another --port or --hostname")]
    Bind {
        /// Host and port asked for.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The folder for sockets and configuration cannot be made.
    #[error("cannot make the run directory: {0}: set TMPDIR to a folder that can be written")]
    RunDir(#[source] io::Error),
    /// The system refuses handlers for SIGTERM and SIGINT.
    #[error("cannot listen to signals: {0}")]
    Signals(#[source] io::Error),
    /// There is no shard program.
    #[error(
        "text-generation-server is neither beside text-generation-launcher nor on PATH: install \
         the package with `pip install .`"
    )]
    ServerMissing,
    /// The shard program cannot be started.
    #[error("cannot start text-generation-server: {0}")]
    Spawn(#[source] io::Error),
    /// A shard ended before it was ever ready.
    #[error("shard {rank} ended before it was ready ({status}){tail}")]
    ShardFailed {
        /// Rank of the shard.
        rank: u32,
        /// How it ended.
        status: ExitStatus,
        /// Its last lines, each on a line of its own.
        tail: String,
    },
    /// A shard that had been ready ended. Its last lines are in the log already.
    #[error("shard {rank} ended ({status})")]
    ShardDied {
        /// Rank of the shard.
        rank: u32,
        /// How it ended.
        status: ExitStatus,
    },
    /// A shard that had been ready failed its health checks for too long.
    #[error("the shard failed its health checks for {} s", limit.as_secs())]
    Stuck {
        /// Time it had to recover.
        limit: Duration,
    },
    /// A shard was never ready.
    #[error("the model was not ready after {} s: raise --startup-timeout{tail}", limit.as_secs())]
    Deadline {
        /// Time it had.
        limit: Duration,
        /// The last lines of rank 0, each on a line of its own.
        tail: String,
    },
    /// The shards failed again and again.
    #[error("the shards failed {failures} times in {} minutes; the last time {reason}", window.as_secs() / 60)]
    FailingAgain {
        /// Failures counted.
        failures: usize,
        /// Time in which they were counted.
        window: Duration,
        /// What happened last.
        reason: String,
    },
    /// A report cannot be written.
    #[error("cannot write to standard output: {0}")]
    Report(#[source] io::Error),
    /// The router ended by itself.
    #[error("the router failed: {0}")]
    Serve(#[from] ServeError),
    /// The router's task ended by a fault of its own.
    #[error("the router broke down: {0}")]
    Router(#[from] tokio::task::JoinError),
    /// A second signal asked to stop at once.
    #[error("stopped at once by a second signal: requests were cut off")]
    Interrupted,
}

impl LaunchError {
    /// The process's exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Keys(_) => EXIT_CONFIG,
            Self::Bind { .. } => EXIT_ADDRESS,
            Self::RunDir(_) => EXIT_RUN_DIR,
            Self::ShardFailed { status, .. } if status.code() == Some(EXIT_MODEL.into()) => {
                EXIT_MODEL
            }
            Self::Deadline { .. } => EXIT_DEADLINE,
            Self::Interrupted => EXIT_INTERRUPTED,
            Self::Signals(_)
            | Self::ServerMissing
            | Self::Spawn(_)
            | Self::ShardFailed { .. }
            | Self::ShardDied { .. }
            | Self::Stuck { .. }
            | Self::FailingAgain { .. }
            | Self::Report(_)
            | Self::Serve(_)
            | Self::Router(_) => EXIT_FAILED,
        }
    }
}
