//! Logs on standard error, as lines for people or JSON for collectors.

use std::io::{self, IsTerminal};

use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

/// Installs the process's logger. `levels` says what is logged, per module.
pub fn init(levels: Targets, json: bool) {
    let layer = fmt::layer()
        .with_writer(io::stderr)
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
}
