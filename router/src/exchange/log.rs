//! The access log: one line a request, when it is over.

use std::time::Duration;

use super::{Exchange, Notes};

/// Target of the lines, for `--log-level`.
const TARGET: &str = "access";

/// What a request's generations took together.
#[derive(Debug, Default)]
struct Totals {
    prompt_tokens: u64,
    cached_tokens: u64,
    generated_tokens: u64,
    /// The longest, as they run side by side.
    queue: Duration,
    prefill: Duration,
    decode: Duration,
}

impl Totals {
    /// None for a request without a generation that came to its end.
    fn of(notes: &Notes) -> Option<Self> {
        let finished = notes
            .generations
            .iter()
            .filter_map(|one| one.finished.as_ref());
        finished.fold(None, |totals, finished| {
            let (totals, receipt) = (totals.unwrap_or_else(Self::default), &finished.receipt);
            Some(Self {
                prompt_tokens: totals.prompt_tokens + u64::from(finished.prompt_tokens),
                cached_tokens: totals.cached_tokens + u64::from(receipt.cached_tokens),
                generated_tokens: totals.generated_tokens + u64::from(finished.generated_tokens),
                queue: totals.queue.max(receipt.queue),
                prefill: totals.prefill.max(receipt.prefill),
                decode: totals.decode.max(receipt.decode),
            })
        })
    }
}

macro_rules! line {
    ($level:ident, $exchange:ident, $notes:ident, $totals:ident, $status:ident, $left:ident) => {
        tracing::$level!(
            target: TARGET,
            method = $exchange.route.method,
            route = $exchange.route.template,
            status = $status,
            request_id = $exchange.request_id,
            tenant = $notes.tenant.as_ref().map(|tenant| tenant.name()),
            duration_ms = millis($exchange.arrived.elapsed()),
            prompt_tokens = $totals.map(|totals| totals.prompt_tokens),
            cached_tokens = $totals.map(|totals| totals.cached_tokens),
            generated_tokens = $totals.map(|totals| totals.generated_tokens),
            queue_ms = $totals.map(|totals| millis(totals.queue)),
            prefill_ms = $totals.map(|totals| millis(totals.prefill)),
            decode_ms = $totals.map(|totals| millis(totals.decode)),
            error = $notes.failure.as_ref().map(|failure| failure.kind),
            cause = $notes.failure.as_ref().and_then(|failure| failure.cause.as_deref()),
            client_left = $left,
            "request"
        )
    };
}

/// Writes the line of an exchange that is over.
pub(super) fn write(exchange: &Exchange, status: u16, is_complete: bool) {
    let notes = exchange.notes();
    let totals = Totals::of(&notes);
    let totals = totals.as_ref();
    let client_left = (!is_complete).then_some(true);
    if exchange.route.is_routine {
        line!(debug, exchange, notes, totals, status, client_left);
    } else {
        line!(info, exchange, notes, totals, status, client_left);
    }
}

/// Milliseconds, to the microsecond.
fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
