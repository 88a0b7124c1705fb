//! The middleware around all others, and the end of an exchange.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::StatusCode;
use hyper::body::{Frame, SizeHint};
use opentelemetry::Context;
use tracing::{Instrument, info_span};

use super::request_id::{self, X_REQUEST_ID};
use super::{Exchange, Routes, log, spans};
use crate::metrics;
use crate::trace::{self, Traces};

/// Status in log and metrics of a request whose client left before it was answered, as nginx has it.
const CLIENT_LEFT: u16 = 499;

/// Gives every request an id, which its log lines and its response carry, and reports it when the
/// last byte of its answer is sent, or its client left.
pub(crate) async fn observe(
    State((routes, traces)): State<(Routes, Option<Traces>)>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = request_id::of(request.headers());
    let text = id.to_str().unwrap_or_default();
    let exchange = Arc::new(Exchange::new(text.to_owned(), routes.of(&request)));
    let trace = traces.map(|traces| (traces, trace::parent(request.headers())));
    let mut ending = Ending::of(&exchange, trace);
    let span = info_span!("request", request_id = text, tenant = tracing::field::Empty);
    request.headers_mut().insert(X_REQUEST_ID, id.clone());
    let mut response = exchange.scope(next.run(request)).instrument(span).await;
    ending.status = Some(response.status());
    response.headers_mut().insert(X_REQUEST_ID, id);
    response.map(|body| Body::new(Observed::new(body, ending)))
}

/// Reports an exchange by drop: it can end in many places.
struct Ending {
    exchange: Arc<Exchange>,
    /// None until the answer begins.
    status: Option<StatusCode>,
    /// Whether all of the answer was sent.
    is_complete: bool,
    /// Where its spans go, and the caller's span.
    trace: Option<(Traces, Context)>,
}

impl Ending {
    fn of(exchange: &Arc<Exchange>, trace: Option<(Traces, Context)>) -> Self {
        Self {
            exchange: Arc::clone(exchange),
            status: None,
            is_complete: false,
            trace,
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let route = self.exchange.route;
        let status = self.status.map_or(CLIENT_LEFT, |status| status.as_u16());
        metrics::request_answered(route.template, route.method, status);
        metrics::answer_sent(route.template, self.exchange.arrived.elapsed());
        log::write(&self.exchange, status, self.is_complete);
        if let Some((traces, parent)) = &self.trace
            && !route.is_routine
        {
            spans::record(&self.exchange, parent, traces, status);
        }
    }
}

/// A body that ends an exchange.
struct Observed {
    body: Body,
    ending: Ending,
}

impl Observed {
    fn new(body: Body, mut ending: Ending) -> Self {
        // Answers to HEAD are sent without their body.
        ending.is_complete = body.is_end_stream() || ending.exchange.route.method == "HEAD";
        Self { body, ending }
    }
}

impl HttpBody for Observed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if matches!(polled, Poll::Ready(None)) || self.body.is_end_stream() {
            self.ending.is_complete = true;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
