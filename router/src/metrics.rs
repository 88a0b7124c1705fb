//! Records what happens; what is recorded is in [`table`].

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{
    Unit as Known, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::error::{ApiError, Limit};
use crate::generation::Finished;
use crate::keys::Tenant;
use crate::pb;
use crate::response_store::Bound;

#[cfg(test)]
mod page;
mod table;

use table::{Kind, Metric, TABLE, Unit};

/// Upper bounds of the buckets of durations, in seconds.
const SECONDS: [f64; 18] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0, 300.0, 1800.0,
];
/// Upper bounds of the buckets of token counts.
const TOKENS: [f64; 14] = [
    1.0, 4.0, 16.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 32768.0, 131_072.0,
    524_288.0,
];

/// The process's recorder, installed on first use.
pub fn recorder() -> &'static PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    RECORDER.get_or_init(|| {
        let handle = builder()
            .install_recorder()
            .expect("no other recorder is installed");
        describe();
        handle
    })
}

/// All metrics as Prometheus text. Call it on the runtime whose tasks are counted.
pub(crate) fn render() -> String {
    let tasks = tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks();
    gauge!(table::TASKS.name).set(tasks as f64);
    recorder().render()
}

fn builder() -> PrometheusBuilder {
    let histograms = all().filter(|metric| metric.kind == Kind::Histogram);
    histograms.fold(PrometheusBuilder::new(), |builder, metric| {
        let bounds: &[f64] = match metric.unit {
            Unit::Seconds => &SECONDS,
            _ => &TOKENS,
        };
        builder
            .set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), bounds)
            .expect("the bounds are not empty")
    })
}

fn all() -> impl Iterator<Item = &'static Metric> {
    TABLE.iter().flat_map(|(_, metrics)| metrics.iter())
}

/// Explains each metric on `/metrics`, where those without labels appear from the start.
fn describe() {
    for metric in all() {
        let (name, help) = (metric.name, metric.help);
        let unit = match metric.unit {
            Unit::Seconds => Known::Seconds,
            Unit::Microseconds => Known::Microseconds,
            _ => Known::Count,
        };
        match metric.kind {
            Kind::Counter => describe_counter!(name, unit, help),
            Kind::Gauge => describe_gauge!(name, unit, help),
            Kind::Histogram => describe_histogram!(name, unit, help),
        }
        match metric.kind {
            Kind::Counter if metric.labels.is_empty() => counter!(name).absolute(0),
            Kind::Gauge if metric.labels.is_empty() => gauge!(name).set(0.0),
            _ => {}
        }
    }
}

/// A request came in.
pub(crate) fn request_received() {
    counter!(table::REQUEST_COUNT.name).increment(1);
}

/// A request was answered; the labels are few.
pub(crate) fn request_answered(route: &'static str, method: &'static str, status: u16) {
    let status = match status / 100 {
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    };
    let labels = [("route", route), ("method", method), ("status", status)];
    counter!(table::HTTP_REQUESTS.name, &labels).increment(1);
}

/// The last byte of an answer was sent.
pub(crate) fn answer_sent(route: &'static str, since_arrival: Duration) {
    histogram!(table::HTTP_REQUEST_DURATION.name, "route" => route).record(since_arrival);
}

/// A request was found valid and its prompt was tokenized.
pub(crate) fn request_validated(since_arrival: Duration) {
    histogram!(table::REQUEST_VALIDATION_DURATION.name).record(since_arrival);
}

/// A text was tokenized.
pub(crate) fn tokenized(duration: Duration) {
    histogram!(table::TOKENIZATION_DURATION.name).record(duration);
}

/// A grammar was checked.
pub(crate) fn grammar_checked(duration: Duration) {
    histogram!(table::GRAMMAR_CHECK_DURATION.name).record(duration);
}

/// Spans were exported, or given up.
pub(crate) fn spans_exported(spans: usize, exported: bool) {
    let outcome = if exported { "exported" } else { "failed" };
    counter!(table::TRACE_SPANS.name, "outcome" => outcome).increment(spans as u64);
}

/// A tenant sent a request.
pub(crate) fn tenant_request(tenant: &Tenant) {
    counter!(table::TENANT_REQUESTS.name, "tenant" => tenant.name().to_owned()).increment(1);
}

/// A request was handed to the queue.
pub(crate) fn request_queued(prompt_tokens: usize, max_new_tokens: u32) {
    histogram!(table::REQUEST_INPUT_LENGTH.name).record(prompt_tokens as f64);
    histogram!(table::REQUEST_MAX_NEW_TOKENS.name).record(f64::from(max_new_tokens));
}

/// A request was refused or failed.
pub(crate) fn request_failed(error: &ApiError) {
    counter!(table::REQUEST_FAILURE.name, "err" => error.error_type()).increment(1);
    if let ApiError::Overloaded { limit, .. } = error {
        limit_hit(*limit);
    }
}

fn limit_hit(limit: Limit) {
    limit_reached(limit.name());
}

/// A request was refused because of the bound of this name.
pub(crate) fn limit_reached(limit: &'static str) {
    counter!(table::LIMIT_HITS.name, "limit" => limit).increment(1);
}

/// An answer is complete, `total` after its submission.
pub(crate) fn request_succeeded(finished: &Finished, total: Duration) {
    let receipt = &finished.receipt;
    let inference = receipt.prefill + receipt.decode;
    counter!(table::REQUEST_SUCCESS.name).increment(1);
    histogram!(table::REQUEST_DURATION.name).record(total);
    histogram!(table::REQUEST_QUEUE_DURATION.name).record(receipt.queue);
    histogram!(table::REQUEST_INFERENCE_DURATION.name).record(inference);
    histogram!(table::REQUEST_MEAN_TIME_PER_TOKEN.name)
        .record(inference / finished.generated_tokens.max(1));
    histogram!(table::REQUEST_GENERATED_TOKENS.name).record(f64::from(finished.generated_tokens));
    histogram!(table::REQUEST_CACHED_TOKENS.name).record(f64::from(receipt.cached_tokens));
}

/// What the store of responses holds.
pub(crate) fn stored_responses(count: usize, bytes: usize) {
    gauge!(table::STORED_RESPONSES.name).set(count as f64);
    gauge!(table::STORED_RESPONSE_BYTES.name).set(bytes as f64);
}

/// A response was not kept, or no longer.
pub(crate) fn response_dropped(bound: Bound) {
    counter!(table::DROPPED_RESPONSES.name, "limit" => bound.name()).increment(1);
}

/// A client left its request.
pub(crate) fn disconnected() {
    counter!(table::DISCONNECTS.name).increment(1);
}

/// A request's first token came.
pub(crate) fn first_token(since_submission: Duration) {
    histogram!(table::TIME_TO_FIRST_TOKEN.name).record(since_submission);
}

/// A request's next token came.
pub(crate) fn next_token(since_last: Duration) {
    histogram!(table::INTER_TOKEN_LATENCY.name).record(since_last);
}

/// The queue and the requests at the shard changed. What waits in the queue waits for the credit of
/// a connected shard, or for one to be connected.
pub(crate) fn queue(size: usize, tokens: usize, in_flight: usize, connected: bool) {
    gauge!(table::QUEUE_SIZE.name).set(size as f64);
    gauge!(table::QUEUE_TOKENS.name).set(tokens as f64);
    gauge!(table::REQUESTS_IN_FLIGHT.name).set(in_flight as f64);
    let (for_credit, for_shard) = if connected { (size, 0) } else { (0, size) };
    gauge!(table::REQUESTS_WAITING.name, "reason" => "credit").set(for_credit as f64);
    gauge!(table::REQUESTS_WAITING.name, "reason" => "shard").set(for_shard as f64);
}

/// A shard was connected.
pub(crate) fn shard_connected() {
    counter!(table::SHARD_CONNECTS.name).increment(1);
}

/// The launcher starts the shards once more.
pub fn shard_restarted() {
    counter!(table::SHARD_RESTARTS.name).increment(1);
}

/// The shard spoke about a request that is not in flight.
pub(crate) fn unknown_event() {
    counter!(table::UNKNOWN_EVENTS.name).increment(1);
}

/// A connection was accepted.
pub(crate) fn connection_accepted() {
    counter!(table::CONNECTIONS.name).increment(1);
}

/// A model is served, in the place of another one.
pub(crate) fn model(info: &pb::EngineInfo, replaced: Option<&pb::EngineInfo>) {
    let show = |info: &pb::EngineInfo, value: f64| {
        let labels = [
            ("model", info.model_id.clone()),
            ("version", info.version.clone()),
            ("executor", info.executor.clone()),
            ("device", info.device.clone()),
            ("weights", info.weights.clone()),
        ];
        gauge!(table::MODEL_INFO.name, &labels).set(value);
    };
    if let Some(replaced) = replaced {
        show(replaced, 0.0);
    }
    show(info, 1.0);
    let tokens = u64::from(info.num_pages) * u64::from(info.page_tokens);
    gauge!(table::BATCH_MAX_TOTAL_TOKENS.name).set(tokens as f64);
}

/// The shard's state; the default when it is lost.
pub(crate) fn load(load: &pb::Load) {
    gauge!(table::BATCH_CURRENT_SIZE.name).set(f64::from(load.prefilling + load.decoding));
    for (metric, label, value, count) in [
        (
            &table::REQUESTS_RUNNING,
            "phase",
            "prefill",
            load.prefilling,
        ),
        (&table::REQUESTS_RUNNING, "phase", "decode", load.decoding),
        (&table::REQUESTS_WAITING, "reason", "step", load.waiting),
        (&table::PAGES, "state", "free", load.pages_free),
        (&table::PAGES, "state", "cached", load.pages_cached),
        (&table::PAGES, "state", "referenced", load.pages_referenced),
    ] {
        gauge!(metric.name, label => value).set(f64::from(count));
    }
    gauge!(table::SHARD_CREDIT.name).set(f64::from(load.credit));
    gauge!(table::STEP_DURATION.name).set(Duration::from_micros(load.step_us).as_secs_f64());
    gauge!(table::STEP_EXECUTE_DURATION.name)
        .set(Duration::from_micros(load.execute_us).as_secs_f64());
}

/// What the shard did between two reports.
pub(crate) fn work(before: &pb::Load, now: &pb::Load) {
    let done = |total: fn(&pb::Load) -> u64| total(now).saturating_sub(total(before));
    for (metric, count) in [
        (&table::STEPS, done(|load| load.steps)),
        (
            &table::EXECUTE_MICROSECONDS,
            done(|load| load.execute_total_us),
        ),
        (&table::GAP_MICROSECONDS, done(|load| load.gap_total_us)),
        (&table::GAP_CPU_MICROSECONDS, done(|load| load.gap_cpu_us)),
        (&table::GAPS, done(|load| load.gaps)),
        (&table::PREFILL_TOKENS, done(|load| load.prefill_tokens)),
        (&table::GENERATED_TOKENS, done(|load| load.generated_tokens)),
        (&table::EVICTED_PAGES, done(|load| load.evicted_pages)),
        (&table::PREEMPTIONS, done(|load| load.preemptions)),
    ] {
        counter!(metric.name).increment(count);
    }
    let cached = done(|load| load.cached_tokens);
    counter!(table::CACHED_TOKENS.name, "tier" => "memory").increment(cached);
}
