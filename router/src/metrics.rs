//! Every metric in one table, and the functions that record them.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::error::{ApiError, Limit};
use crate::generation::Finished;
use crate::keys::Tenant;
use crate::pb;

const REQUEST_COUNT: &str = "tgi_request_count";
const TENANT_REQUESTS: &str = "tgi_tenant_requests";
const REQUEST_SUCCESS: &str = "tgi_request_success";
const REQUEST_FAILURE: &str = "tgi_request_failure";
const REQUEST_DURATION: &str = "tgi_request_duration";
const REQUEST_QUEUE_DURATION: &str = "tgi_request_queue_duration";
const REQUEST_INFERENCE_DURATION: &str = "tgi_request_inference_duration";
const REQUEST_MEAN_TIME_PER_TOKEN: &str = "tgi_request_mean_time_per_token_duration";
const REQUEST_INPUT_LENGTH: &str = "tgi_request_input_length";
const REQUEST_MAX_NEW_TOKENS: &str = "tgi_request_max_new_tokens";
const REQUEST_GENERATED_TOKENS: &str = "tgi_request_generated_tokens";
const REQUEST_CACHED_TOKENS: &str = "tgi_request_cached_tokens";
const TIME_TO_FIRST_TOKEN: &str = "tgi_time_to_first_token";
const INTER_TOKEN_LATENCY: &str = "tgi_inter_token_latency";
const QUEUE_SIZE: &str = "tgi_queue_size";
const BATCH_CURRENT_SIZE: &str = "tgi_batch_current_size";
const QUEUE_TOKENS: &str = "tgi_queue_tokens";
const REQUESTS_IN_FLIGHT: &str = "tgi_requests_in_flight";
const SHARD_CREDIT: &str = "tgi_shard_credit";
const PAGES: &str = "tgi_pages";
const PREFILL_TOKENS: &str = "tgi_prefill_tokens";
const CACHED_TOKENS: &str = "tgi_cached_tokens";
const GENERATED_TOKENS: &str = "tgi_generated_tokens";
const STEPS: &str = "tgi_steps";
const STEP_DURATION: &str = "tgi_step_duration";
const STEP_EXECUTE_DURATION: &str = "tgi_step_execute_duration";
const EXECUTE_MICROSECONDS: &str = "tgi_execute_microseconds";
const GAP_MICROSECONDS: &str = "tgi_gap_microseconds";
const GAP_CPU_MICROSECONDS: &str = "tgi_gap_cpu_microseconds";
const GAPS: &str = "tgi_gaps";
const EVICTED_PAGES: &str = "tgi_evicted_pages";
const PREEMPTIONS: &str = "tgi_preemptions";
const LIMIT_HITS: &str = "tgi_limit_hits";
const DISCONNECTS: &str = "tgi_disconnects";
const SHARD_CONNECTS: &str = "tgi_shard_connects";
const UNKNOWN_EVENTS: &str = "tgi_shard_unknown_events";
const CONNECTIONS: &str = "tgi_connections";
const TASKS: &str = "tgi_tasks";

const COUNTERS: [(&str, &str); 19] = [
    (REQUEST_COUNT, "requests received"),
    (TENANT_REQUESTS, "requests of known callers, by tenant"),
    (REQUEST_SUCCESS, "answers completed"),
    (REQUEST_FAILURE, "requests refused or failed, by err"),
    (LIMIT_HITS, "requests refused because of a bound, by limit"),
    (
        DISCONNECTS,
        "requests that their client left before the end",
    ),
    (SHARD_CONNECTS, "times that a shard was connected"),
    (
        UNKNOWN_EVENTS,
        "shard events of requests that are not in flight",
    ),
    (PREFILL_TOKENS, "prompt tokens computed"),
    (CACHED_TOKENS, "prompt tokens taken from the cache"),
    (GENERATED_TOKENS, "tokens generated"),
    (STEPS, "engine steps"),
    (EXECUTE_MICROSECONDS, "time within calls of the executor"),
    (
        GAP_MICROSECONDS,
        "time between two calls of the executor while there was work",
    ),
    (
        GAP_CPU_MICROSECONDS,
        "CPU time of the engine's thread in these gaps",
    ),
    (GAPS, "gaps between two calls of the executor"),
    (EVICTED_PAGES, "pages evicted from the cache"),
    (PREEMPTIONS, "times that a request gave up its pages"),
    (CONNECTIONS, "connections accepted"),
];

const GAUGES: [(&str, &str); 9] = [
    (QUEUE_SIZE, "requests in the router's queue"),
    (QUEUE_TOKENS, "prompt tokens in the router's queue"),
    (
        REQUESTS_IN_FLIGHT,
        "requests at the shard, those being cancelled included",
    ),
    (BATCH_CURRENT_SIZE, "requests that the shard is computing"),
    (SHARD_CREDIT, "requests that the shard takes at once"),
    (PAGES, "pages of the pool, by state"),
    (
        STEP_DURATION,
        "duration of the latest engine step, in seconds",
    ),
    (
        STEP_EXECUTE_DURATION,
        "the executor's part of the latest engine step, in seconds",
    ),
    (TASKS, "tasks of the router that are alive"),
];

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

const DURATIONS: [(&str, &str); 6] = [
    (REQUEST_DURATION, "from submission to the end"),
    (
        REQUEST_QUEUE_DURATION,
        "from submission to the first scheduled step",
    ),
    (REQUEST_INFERENCE_DURATION, "prefill and decode"),
    (
        REQUEST_MEAN_TIME_PER_TOKEN,
        "inference time over generated tokens",
    ),
    (TIME_TO_FIRST_TOKEN, "from submission to the first token"),
    (
        INTER_TOKEN_LATENCY,
        "between two tokens of an answer, as they reach the router",
    ),
];

const LENGTHS: [(&str, &str); 4] = [
    (REQUEST_INPUT_LENGTH, "prompt tokens of a request"),
    (
        REQUEST_MAX_NEW_TOKENS,
        "most tokens that a request may generate",
    ),
    (REQUEST_GENERATED_TOKENS, "tokens generated for a request"),
    (
        REQUEST_CACHED_TOKENS,
        "prompt tokens of a request taken from the cache",
    ),
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
    gauge!(TASKS).set(tasks as f64);
    recorder().render()
}

fn builder() -> PrometheusBuilder {
    let buckets = |builder: PrometheusBuilder, name: &str, bounds: &[f64]| {
        builder
            .set_buckets_for_metric(Matcher::Full(name.to_owned()), bounds)
            .expect("the bounds are not empty")
    };
    let builder = PrometheusBuilder::new();
    let builder = DURATIONS
        .iter()
        .fold(builder, |b, (name, _)| buckets(b, name, &SECONDS));
    LENGTHS
        .iter()
        .fold(builder, |b, (name, _)| buckets(b, name, &TOKENS))
}

fn describe() {
    for (name, text) in COUNTERS {
        describe_counter!(name, text);
    }
    for (name, text) in GAUGES {
        describe_gauge!(name, text);
    }
    for (name, text) in DURATIONS {
        describe_histogram!(name, Unit::Seconds, text);
    }
    for (name, text) in LENGTHS {
        describe_histogram!(name, text);
    }
}

/// A request came in.
pub(crate) fn request_received() {
    counter!(REQUEST_COUNT).increment(1);
}

/// A request was handed to the queue.
pub(crate) fn request_queued(prompt_tokens: usize, max_new_tokens: u32) {
    histogram!(REQUEST_INPUT_LENGTH).record(prompt_tokens as f64);
    histogram!(REQUEST_MAX_NEW_TOKENS).record(f64::from(max_new_tokens));
}

/// A request was refused or failed.
pub(crate) fn request_failed(error: &ApiError) {
    counter!(REQUEST_FAILURE, "err" => error.error_type()).increment(1);
    if let ApiError::Overloaded { limit, .. } = error {
        limit_hit(*limit);
    }
}

fn limit_hit(limit: Limit) {
    counter!(LIMIT_HITS, "limit" => limit.name()).increment(1);
}

/// An answer is complete, `total` after its submission.
pub(crate) fn request_succeeded(finished: &Finished, total: Duration) {
    let receipt = &finished.receipt;
    let inference = receipt.prefill + receipt.decode;
    counter!(REQUEST_SUCCESS).increment(1);
    histogram!(REQUEST_DURATION).record(total);
    histogram!(REQUEST_QUEUE_DURATION).record(receipt.queue);
    histogram!(REQUEST_INFERENCE_DURATION).record(inference);
    histogram!(REQUEST_MEAN_TIME_PER_TOKEN).record(inference / finished.generated_tokens.max(1));
    histogram!(REQUEST_GENERATED_TOKENS).record(f64::from(finished.generated_tokens));
    histogram!(REQUEST_CACHED_TOKENS).record(f64::from(receipt.cached_tokens));
}

/// A client left its request.
pub(crate) fn disconnected() {
    counter!(DISCONNECTS).increment(1);
}

/// A request's first token came.
pub(crate) fn first_token(since_submission: Duration) {
    histogram!(TIME_TO_FIRST_TOKEN).record(since_submission);
}

/// A request's next token came.
pub(crate) fn next_token(since_last: Duration) {
    histogram!(INTER_TOKEN_LATENCY).record(since_last);
}

/// The queue and the requests at the shard changed.
pub(crate) fn queue(size: usize, tokens: usize, in_flight: usize) {
    gauge!(QUEUE_SIZE).set(size as f64);
    gauge!(QUEUE_TOKENS).set(tokens as f64);
    gauge!(REQUESTS_IN_FLIGHT).set(in_flight as f64);
}

/// A shard was connected.
pub(crate) fn shard_connected() {
    counter!(SHARD_CONNECTS).increment(1);
}

/// The shard spoke about a request that is not in flight.
pub(crate) fn unknown_event() {
    counter!(UNKNOWN_EVENTS).increment(1);
}

/// A connection was accepted.
pub(crate) fn connection_accepted() {
    counter!(CONNECTIONS).increment(1);
}

/// The shard's state.
pub(crate) fn load(load: &pb::Load) {
    gauge!(BATCH_CURRENT_SIZE).set(f64::from(load.prefilling + load.decoding));
    gauge!(SHARD_CREDIT).set(f64::from(load.credit));
    gauge!(PAGES, "state" => "free").set(f64::from(load.pages_free));
    gauge!(PAGES, "state" => "cached").set(f64::from(load.pages_cached));
    gauge!(PAGES, "state" => "referenced").set(f64::from(load.pages_referenced));
    gauge!(STEP_DURATION).set(Duration::from_micros(load.step_us).as_secs_f64());
    gauge!(STEP_EXECUTE_DURATION).set(Duration::from_micros(load.execute_us).as_secs_f64());
}

/// What the shard did between two reports.
pub(crate) fn work(before: &pb::Load, now: &pb::Load) {
    for (name, total) in [
        (STEPS, (|load| load.steps) as fn(&pb::Load) -> u64),
        (EXECUTE_MICROSECONDS, |load| load.execute_total_us),
        (GAP_MICROSECONDS, |load| load.gap_total_us),
        (GAP_CPU_MICROSECONDS, |load| load.gap_cpu_us),
        (GAPS, |load| load.gaps),
        (PREFILL_TOKENS, |load| load.prefill_tokens),
        (CACHED_TOKENS, |load| load.cached_tokens),
        (GENERATED_TOKENS, |load| load.generated_tokens),
        (EVICTED_PAGES, |load| load.evicted_pages),
        (PREEMPTIONS, |load| load.preemptions),
    ] {
        counter!(name).increment(total(now).saturating_sub(total(before)));
    }
}

/// A tenant sent a request.
pub(crate) fn tenant_request(tenant: &Tenant) {
    counter!(TENANT_REQUESTS, "tenant" => tenant.name().to_owned()).increment(1);
}
