//! Connections: accepted up to a bound, each with its time limits, drained at the end.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;
use tokio_io_timeout::TimeoutWriter;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::config::HttpLimits;
use crate::limits::LimitName;
use crate::metrics;
use crate::serve::descriptors::connection_places;

/// Pause when the system has no resources for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Smallest buffer that hyper accepts for a header section.
const MIN_HEADER_BYTES: usize = 8192;
const HTTP2_STREAMS: u32 = 256;
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(20);
const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(20);

/// The open connections.
pub(super) struct Connections {
    settings: Settings,
    places: Arc<Semaphore>,
    tasks: TaskTracker,
}

/// What every connection needs; cheap to clone.
#[derive(Clone)]
struct Settings {
    builder: Arc<Builder<TokioExecutor>>,
    app: Router,
    first_request: Duration,
    write_stall: Duration,
    /// No further requests.
    drain: CancellationToken,
    /// No further bytes.
    abort: CancellationToken,
}

impl Connections {
    pub(super) fn new(limits: &HttpLimits, app: Router) -> Self {
        let settings = Settings {
            builder: Arc::new(builder(limits)),
            app,
            first_request: Duration::from_secs(limits.header_timeout),
            write_stall: Duration::from_secs(limits.write_stall_timeout),
            drain: CancellationToken::new(),
            abort: CancellationToken::new(),
        };
        let (wanted, places) = (
            limits.max_connections,
            connection_places(limits.max_connections),
        );
        if places < wanted {
            tracing::warn!(
                "at most {places} connections of --max-connections {wanted} can be open: raise the \
                 system's limit on open files (ulimit -n)"
            );
        }
        Self {
            settings,
            places: Arc::new(Semaphore::new(places)),
            tasks: TaskTracker::new(),
        }
    }

    /// Accepts for ever. Connections beyond the bound wait in the system's backlog.
    pub(super) async fn accept(&mut self, listener: &TcpListener) -> Infallible {
        loop {
            if self.places.available_permits() == 0 {
                metrics::limit_reached(LimitName::Connections);
            }
            let place = Arc::clone(&self.places).acquire_owned().await;
            let place = place.expect("the semaphore is never closed");
            match listener.accept().await {
                Ok((stream, _)) => {
                    metrics::connection_accepted();
                    self.tasks
                        .spawn(serve(stream, self.settings.clone(), place));
                }
                Err(error) if is_the_clients(&error) => {}
                Err(error) => {
                    tracing::warn!("a connection cannot be accepted: {error}");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Lets what runs finish.
    pub(super) async fn drain(&self) {
        self.settings.drain.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Ends what still runs.
    pub(super) async fn abort(&self) {
        self.settings.abort.cancel();
        self.tasks.wait().await;
    }
}

fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

fn builder(limits: &HttpLimits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(limits.header_timeout))
        .max_headers(limits.max_headers)
        .max_buf_size(limits.max_header_bytes.max(MIN_HEADER_BYTES));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_STREAMS)
        .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(HTTP2_PING_INTERVAL)
        .keep_alive_timeout(HTTP2_PING_TIMEOUT);
    builder
}

/// Serves one connection to its end.
async fn serve(stream: TcpStream, settings: Settings, _place: OwnedSemaphorePermit) {
    let Settings {
        builder,
        app,
        first_request,
        write_stall,
        drain,
        abort,
    } = settings;
    // Fails only on a connection that is already gone.
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutWriter::new(stream);
    stream.set_timeout(Some(write_stall));
    let has_request = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&has_request);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        seen.store(true, Ordering::Relaxed);
        app.clone().oneshot(request)
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(Box::pin(stream)), service));
    // hyper's own limit begins only once it knows which HTTP it is.
    let silent = async {
        sleep(first_request).await;
        if has_request.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        end = connection.as_mut() => return note(end),
        () = silent => return metrics::limit_reached(LimitName::HeaderTime),
        () = drain.cancelled() => connection.as_mut().graceful_shutdown(),
        () = abort.cancelled() => return,
    }
    tokio::select! {
        end = connection.as_mut() => note(end),
        () = abort.cancelled() => {}
    }
}

fn note(end: Result<(), Box<dyn Error + Send + Sync>>) {
    if let Err(error) = end {
        tracing::debug!("a connection ended: {error}");
        if let Some(limit) = broken_limit(&*error) {
            metrics::limit_reached(limit);
        }
    }
}

/// The limit that ended a connection of HTTP/1, if one did. hyper answers 431 itself, to streams of
/// HTTP/2 without an end of their connection.
fn broken_limit(error: &(dyn Error + Send + Sync + 'static)) -> Option<LimitName> {
    let error = error.downcast_ref::<hyper::Error>()?;
    let stalled = || {
        let source = error
            .source()
            .and_then(|source| source.downcast_ref::<io::Error>());
        source.is_some_and(|source| source.kind() == io::ErrorKind::TimedOut)
    };
    if error.is_parse_too_large() {
        Some(LimitName::Headers)
    } else if error.is_timeout() {
        Some(LimitName::HeaderTime)
    } else {
        stalled().then_some(LimitName::SlowReader)
    }
}
