//! Logs on standard error, as lines for people or JSON for collectors.

use std::io::{self, IsTerminal};

pub use tracing_appender::non_blocking::NonBlocking;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

/// Lines that may wait for a reader of standard error that stalls; further ones are dropped, as no
/// request shall wait for a log.
const MOST_LINES: usize = 16_384;

/// The way to standard error. What was written is out when it is dropped, at the latest.
#[derive(Debug)]
pub struct Log {
    writer: NonBlocking,
    _written_by_drop: WorkerGuard,
}

impl Log {
    /// Lines go out by a thread that ends when this is dropped.
    #[must_use]
    pub fn open() -> Self {
        let (writer, guard) = NonBlockingBuilder::default()
            .buffered_lines_limit(MOST_LINES)
            .finish(io::stderr());
        Self {
            writer,
            _written_by_drop: guard,
        }
    }

    /// Takes further lines, without ever blocking.
    #[must_use]
    pub fn writer(&self) -> NonBlocking {
        self.writer.clone()
    }
}

/// Installs the process's logger. `levels` says what is logged, per module.
#[must_use]
pub fn init(levels: Targets, json: bool) -> Log {
    let log = Log::open();
    let layer = fmt::layer()
        .with_writer(log.writer())
        .with_ansi(io::stderr().is_terminal());
    let layer: Box<dyn Layer<Registry> + Send + Sync> = if json {
        layer
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .boxed()
    } else {
        layer.with_target(false).boxed()
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(levels))
        .init();
    log
}
