//! The spans of an exchange that is over.

use opentelemetry::trace::SpanKind;
use opentelemetry::{Context, KeyValue};
use tokio::time::Instant;

use super::{Exchange, Generated, Notes};
use crate::trace::{Stretch, Traces};

/// Records the request, what was done before the queue took it, and its generations.
pub(super) fn record(exchange: &Exchange, parent: &Context, traces: &Traces, status: u16) {
    let notes = exchange.notes();
    let request = Stretch {
        name: format!("{} {}", exchange.route.method, exchange.route.template),
        kind: SpanKind::Server,
        attributes: attributes(exchange, &notes, status),
        failed: status >= 500,
        ..Stretch::part("", exchange.arrived, Instant::now())
    };
    let request = traces.record(parent, request);
    if let Some((start, end)) = notes.prepared {
        traces.record(&request, Stretch::part("prepare", start, end));
    }
    for generated in &notes.generations {
        record_generation(generated, &request, traces);
    }
}

/// A generation: its wait in the router's queue, then what the shard's receipt tells.
fn record_generation(generated: &Generated, request: &Context, traces: &Traces) {
    let mut span = Stretch::part("generate", generated.submitted, generated.ended);
    let Some(finished) = &generated.finished else {
        span.failed = true;
        traces.record(request, span);
        return;
    };
    let receipt = &finished.receipt;
    span.attributes = vec![
        KeyValue::new("prompt_tokens", i64::from(finished.prompt_tokens)),
        KeyValue::new("cached_tokens", i64::from(receipt.cached_tokens)),
        KeyValue::new("generated_tokens", i64::from(finished.generated_tokens)),
    ];
    let generation = traces.record(request, span);
    let handed_over = generated.submitted + receipt.router_queue;
    let scheduled = generated.submitted + receipt.queue;
    let first_token = scheduled + receipt.prefill;
    let parts = [
        ("queue", generated.submitted, handed_over),
        ("shard.queue", handed_over, scheduled),
        ("shard.prefill", scheduled, first_token),
        ("shard.decode", first_token, first_token + receipt.decode),
    ];
    for (name, start, end) in parts {
        traces.record(&generation, Stretch::part(name, start, end));
    }
}

fn attributes(exchange: &Exchange, notes: &Notes, status: u16) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("http.request.method", exchange.route.method),
        KeyValue::new("http.route", exchange.route.template),
        KeyValue::new("http.response.status_code", i64::from(status)),
        KeyValue::new("request_id", exchange.request_id.clone()),
    ];
    if let Some(tenant) = &notes.tenant {
        attributes.push(KeyValue::new("tenant", tenant.name().to_owned()));
    }
    if let Some(failure) = &notes.failure {
        attributes.push(KeyValue::new("error.type", failure.kind));
    }
    attributes
}
