//! Every metric in one table: what it is called, what it counts and what it means.
//!
//! A metric takes one entry here and a function in [`crate::metrics`] that records it;
//! `docs/metrics.md` is generated from the table (`make docs`). Labels have few values, whatever
//! requests say.

/// One metric.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Metric {
    /// Its name on `/metrics`.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) unit: Unit,
    /// Names of its labels, each with the values it can have.
    pub(crate) labels: &'static [(&'static str, &'static str)],
    pub(crate) help: &'static str,
    /// Whether Text Generation Inference has it with this name and meaning.
    #[cfg_attr(not(test), expect(dead_code, reason = "only the page shows it"))]
    pub(crate) is_of_tgi: bool,
}

/// How a metric moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only up, from 0 at the start of the server.
    Counter,
    /// Up and down.
    Gauge,
    /// Values counted by upper bounds, with their number and sum.
    Histogram,
}

/// What a value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Seconds,
    Microseconds,
    Tokens,
    Pages,
    Requests,
    Bytes,
    Events,
}

impl Metric {
    const fn new(kind: Kind, name: &'static str, unit: Unit, help: &'static str) -> Self {
        Self {
            name,
            kind,
            unit,
            labels: &[],
            help,
            is_of_tgi: false,
        }
    }

    const fn by(self, labels: &'static [(&'static str, &'static str)]) -> Self {
        Self { labels, ..self }
    }

    const fn of_tgi(self) -> Self {
        Self {
            is_of_tgi: true,
            ..self
        }
    }
}

const fn counter(name: &'static str, unit: Unit, help: &'static str) -> Metric {
    Metric::new(Kind::Counter, name, unit, help)
}

const fn gauge(name: &'static str, unit: Unit, help: &'static str) -> Metric {
    Metric::new(Kind::Gauge, name, unit, help)
}

const fn histogram(name: &'static str, unit: Unit, help: &'static str) -> Metric {
    Metric::new(Kind::Histogram, name, unit, help)
}

macro_rules! table {
    ($($chapter:literal { $($constant:ident = $metric:expr;)* })*) => {
        $($(pub(super) const $constant: Metric = $metric;)*)*

        /// All metrics, by chapter of their page.
        pub(crate) const TABLE: &[(&str, &[Metric])] = &[$(($chapter, &[$($constant),*])),*];
    };
}

use Unit::{Bytes, Events, Microseconds, Pages, Requests, Seconds, Tokens};

table! {
    "Requests" {
        REQUEST_COUNT = counter("tgi_request_count", Requests, "requests received").of_tgi();
        TENANT_REQUESTS = counter("tgi_tenant_requests", Requests,
            "requests that were let in, health routes apart")
            .by(&[("tenant", "name of the key's tenant, `default` without keys")]);
        REQUEST_SUCCESS = counter("tgi_request_success", Requests, "answers completed").of_tgi();
        REQUEST_FAILURE = counter("tgi_request_failure", Requests, "requests refused or failed")
            .by(&[("err", "`error_type` of the error")]).of_tgi();
        LIMIT_HITS = counter("tgi_limit_hits", Requests, "requests refused because of a bound")
            .by(&[("limit", "name of the bound")]);
        DISCONNECTS = counter("tgi_disconnects", Requests,
            "answers aborted because their client left");
        REQUEST_DURATION = histogram("tgi_request_duration", Seconds,
            "from submission to the end").of_tgi();
        REQUEST_VALIDATION_DURATION = histogram("tgi_request_validation_duration", Seconds,
            "checking, rendering and tokenizing a request").of_tgi();
        TOKENIZATION_DURATION = histogram("tgi_tokenization_duration", Seconds,
            "tokenizing a text, without the wait for a worker");
        GRAMMAR_CHECK_DURATION = histogram("tgi_grammar_check_duration", Seconds,
            "making a parser of a grammar that was not known");
        REQUEST_QUEUE_DURATION = histogram("tgi_request_queue_duration", Seconds,
            "from submission to the first scheduled step").of_tgi();
        REQUEST_INFERENCE_DURATION = histogram("tgi_request_inference_duration", Seconds,
            "prefill and decode").of_tgi();
        REQUEST_MEAN_TIME_PER_TOKEN = histogram("tgi_request_mean_time_per_token_duration", Seconds,
            "inference time over generated tokens").of_tgi();
        TIME_TO_FIRST_TOKEN = histogram("tgi_time_to_first_token", Seconds,
            "from submission to the first token");
        INTER_TOKEN_LATENCY = histogram("tgi_inter_token_latency", Seconds,
            "between two tokens of an answer, as they reach the router");
        REQUEST_INPUT_LENGTH = histogram("tgi_request_input_length", Tokens,
            "prompt tokens of a request").of_tgi();
        REQUEST_MAX_NEW_TOKENS = histogram("tgi_request_max_new_tokens", Tokens,
            "most tokens that a request may generate").of_tgi();
        REQUEST_GENERATED_TOKENS = histogram("tgi_request_generated_tokens", Tokens,
            "tokens generated for a request").of_tgi();
        REQUEST_CACHED_TOKENS = histogram("tgi_request_cached_tokens", Tokens,
            "prompt tokens of a request taken from the cache");
    }
    "Stored responses" {
        STORED_RESPONSES = gauge("tgi_stored_responses", Events,
            "responses kept for `/v1/responses`");
        STORED_RESPONSE_BYTES = gauge("tgi_stored_response_bytes", Bytes,
            "bytes of these responses and their conversations");
        DROPPED_RESPONSES = counter("tgi_dropped_responses", Events,
            "responses that made room for newer ones, or were too large to be kept")
            .by(&[("limit", "`stored_responses`, `stored_response_bytes`")]);
    }
    "HTTP" {
        HTTP_REQUESTS = counter("tgi_http_requests", Requests, "requests answered, on all routes")
            .by(&[
                ("route", "template of the route, `none` where there is none"),
                ("method", "`GET`, `HEAD`, `POST`, `DELETE`, `OPTIONS`, `other`"),
                ("status", "`2xx`, `3xx`, `4xx`, `5xx`; 4xx also of clients that left before"),
            ]);
        HTTP_REQUEST_DURATION = histogram("tgi_http_request_duration", Seconds,
            "from the header section to the last byte of the answer")
            .by(&[("route", "as above")]);
        TRACE_SPANS = counter("tgi_trace_spans", Events, "spans that left for the traces' collector")
            .by(&[("outcome", "`exported`, `failed`")]);
        CONNECTIONS = counter("tgi_connections", Events, "connections accepted");
        TASKS = gauge("tgi_tasks", Events, "tasks of the router that are alive");
    }
    "Queue" {
        QUEUE_SIZE = gauge("tgi_queue_size", Requests, "requests in the router's queue").of_tgi();
        QUEUE_TOKENS = gauge("tgi_queue_tokens", Tokens, "prompt tokens in the router's queue");
        REQUESTS_WAITING = gauge("tgi_requests_waiting", Requests,
            "requests that wait, by what for: a shard to be connected, credit of the shard, or at the \
             shard for a place in a step")
            .by(&[("reason", "`shard`, `credit`, `step`")]);
        REQUESTS_IN_FLIGHT = gauge("tgi_requests_in_flight", Requests,
            "requests at the shard, those being cancelled included");
        REQUESTS_RUNNING = gauge("tgi_requests_running", Requests, "requests being computed")
            .by(&[("phase", "`prefill`, `decode`")]);
        BATCH_CURRENT_SIZE = gauge("tgi_batch_current_size", Requests,
            "requests being computed, both phases").of_tgi();
        BATCH_MAX_TOTAL_TOKENS = gauge("tgi_batch_max_total_tokens", Tokens,
            "tokens of KV that the pool holds").of_tgi();
        SHARD_CREDIT = gauge("tgi_shard_credit", Requests, "requests that the shard takes at once");
    }
    "Engine" {
        PREFILL_TOKENS = counter("tgi_prefill_tokens", Tokens, "prompt tokens computed");
        GENERATED_TOKENS = counter("tgi_generated_tokens", Tokens, "tokens generated");
        STEPS = counter("tgi_steps", Events, "engine steps");
        STEP_DURATION = gauge("tgi_step_duration", Seconds, "duration of the latest engine step");
        STEP_EXECUTE_DURATION = gauge("tgi_step_execute_duration", Seconds,
            "the executor's part of the latest engine step");
        EXECUTE_MICROSECONDS = counter("tgi_execute_microseconds", Microseconds,
            "time within calls of the executor");
        GAP_MICROSECONDS = counter("tgi_gap_microseconds", Microseconds,
            "time between two calls of the executor while there was work");
        GAP_CPU_MICROSECONDS = counter("tgi_gap_cpu_microseconds", Microseconds,
            "CPU time of the engine's thread in these gaps");
        GAPS = counter("tgi_gaps", Events, "gaps between two calls of the executor");
        PREEMPTIONS = counter("tgi_preemptions", Events, "times that a request gave up its pages");
    }
    "Cache" {
        CACHED_TOKENS = counter("tgi_cached_tokens", Tokens, "prompt tokens taken from the cache")
            .by(&[("tier", "`memory`")]);
        PAGES = gauge("tgi_pages", Pages, "pages of the pool")
            .by(&[("state", "`free`, `cached`, `referenced`")]);
        EVICTED_PAGES = counter("tgi_evicted_pages", Pages, "pages evicted from the cache");
    }
    "Shard" {
        SHARD_CONNECTS = counter("tgi_shard_connects", Events, "times that a shard was connected");
        SHARD_RESTARTS = counter("tgi_shard_restarts", Events,
            "times that the launcher restarted the shards");
        UNKNOWN_EVENTS = counter("tgi_shard_unknown_events", Events,
            "shard events of requests that are not in flight");
        MODEL_INFO = gauge("tgi_model_info", Events, "1 for the model that is served")
            .by(&[
                ("model", "its id"),
                ("version", "version of the shard"),
                ("executor", "`native`, `torch`, `oracle`"),
                ("device", "`cpu`, `cuda`"),
                ("weights", "type of its weights"),
            ]);
    }
}
