//! Logs on standard error, as lines for people or JSON for collectors.

use std::io::{self, IsTerminal};

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

/// Lines that may wait for a reader of standard error that stalls; further ones are dropped, as no
/// request shall wait for a log.
const MOST_LINES: usize = 16_384;

/// Installs the process's logger. `levels` says what is logged, per module. What was logged is
/// written when the guard is dropped, at the latest.
pub fn init(levels: Targets, json: bool) -> WorkerGuard {
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(MOST_LINES)
        .finish(io::stderr());
    let layer = fmt::layer()
        .with_writer(writer)
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
    guard
}
