//! Traces of requests, sent by OTLP over gRPC to the collector of `--otlp-endpoint`.
//!
//! The spans of a request are made when it is over, from the times that are known by then: nothing is
//! traced while it runs. The shard's spans come from its receipt. Ended spans wait in a bounded queue
//! for a thread that exports them; what does not fit is dropped, so that no request waits for a
//! collector.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{Span, SpanBuilder, SpanKind, Status, TraceContextExt, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracer, SdkTracerProvider, SpanData, SpanExporter,
};
use tokio::time::Instant;

use crate::config::RouterConfig;
use crate::metrics;

/// Ended spans that wait for their export; further ones are dropped.
const MAX_WAITING_SPANS: usize = 4096;
/// Longest time from the end of a span to its export.
const EXPORT_PAUSE: Duration = Duration::from_secs(1);
/// What one export may take, and what is waited for the last one.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);

/// Makes and exports spans. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

/// A stretch of time of a request.
#[derive(Debug)]
pub(crate) struct Stretch {
    pub(crate) name: String,
    pub(crate) kind: SpanKind,
    pub(crate) start: Instant,
    pub(crate) end: Instant,
    pub(crate) attributes: Vec<KeyValue>,
    pub(crate) failed: bool,
}

impl Stretch {
    /// A part of a request, by name.
    pub(crate) fn part(name: &str, start: Instant, end: Instant) -> Self {
        Self {
            name: name.to_owned(),
            kind: SpanKind::Internal,
            start,
            end,
            attributes: vec![],
            failed: false,
        }
    }
}

impl Traces {
    /// Traces for the configured collector, which need not be there; none where none is configured.
    /// Call it on a runtime, which makes the connections.
    ///
    /// # Errors
    /// When the endpoint is no address.
    pub(crate) fn start(config: &RouterConfig) -> Result<Option<Self>, String> {
        let Some(endpoint) = &config.otlp_endpoint else {
            return Ok(None);
        };
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_timeout(EXPORT_TIMEOUT)
            .build()
            .map_err(|error| error.to_string())?;
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(MAX_WAITING_SPANS)
            .with_scheduled_delay(EXPORT_PAUSE)
            .build();
        let processor = BatchSpanProcessor::builder(Counted(exporter)).with_batch_config(batches);
        let service = Resource::builder().with_service_name(config.otlp_service_name.clone());
        let provider = SdkTracerProvider::builder()
            .with_span_processor(processor.build())
            .with_resource(service.build())
            .build();
        let tracer = provider.tracer("text-generation-router");
        Ok(Some(Self { provider, tracer }))
    }

    /// Records a stretch as a part of `parent`; returns the context of its own parts.
    pub(crate) fn record(&self, parent: &Context, stretch: Stretch) -> Context {
        let span = SpanBuilder::from_name(stretch.name)
            .with_kind(stretch.kind)
            .with_start_time(system_time(stretch.start))
            .with_attributes(stretch.attributes);
        let mut span = span.start_with_context(&self.tracer, parent);
        if stretch.failed {
            span.set_status(Status::error(""));
        }
        span.end_with_timestamp(system_time(stretch.end));
        Context::new().with_remote_span_context(span.span_context().clone())
    }

    /// Exports what waits, as far as there is time.
    pub(crate) async fn finish(self) {
        let finish = move || self.provider.shutdown_with_timeout(EXPORT_TIMEOUT);
        match tokio::task::spawn_blocking(finish).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("the last traces were not exported: {error}"),
            Err(panic) => tracing::warn!("the last traces were not exported: {panic}"),
        }
    }
}

/// The caller's span, from the W3C header `traceparent`; an empty context without.
pub(crate) fn parent(headers: &HeaderMap) -> Context {
    TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(headers))
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

fn system_time(instant: Instant) -> SystemTime {
    SystemTime::now() - instant.elapsed()
}

/// Counts what is exported.
#[derive(Debug)]
struct Counted(opentelemetry_otlp::SpanExporter);

impl SpanExporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let exported = self.0.export(batch).await;
        metrics::spans_exported(spans, exported.is_ok());
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}
