//! What browsers are told about requests from pages of other origins (CORS).

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use tower_http::cors::{AllowHeaders, AllowOrigin, Any, CorsLayer};

/// How long a browser may remember the answer to a preflight.
const MAX_AGE: Duration = Duration::from_secs(3600);

/// Headers of responses that scripts may read.
const EXPOSED: [&str; 13] = [
    "retry-after",
    "x-request-id",
    "x-compute-characters",
    "x-compute-time",
    "x-compute-type",
    "x-generated-tokens",
    "x-inference-time",
    "x-prompt-tokens",
    "x-queue-time",
    "x-time-per-token",
    "x-total-time",
    "x-validation-time",
    "www-authenticate",
];

/// Browsers of any origin, or of those listed, may call with any header: with a key, JSON, an id,
/// and what the clients' libraries add. Cookies and stored passwords stay at home.
pub(crate) fn cors(origins: &[String]) -> CorsLayer {
    let allowed = match origins {
        [] => AllowOrigin::from(Any),
        listed => AllowOrigin::list(
            listed
                .iter()
                .filter_map(|origin| HeaderValue::from_str(origin).ok()),
        ),
    };
    CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::POST, Method::DELETE, Method::OPTIONS])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(EXPOSED.map(HeaderName::from_static))
        .max_age(MAX_AGE)
}
