//! Health routes. They are open to everybody, so they say nothing but their status; why a server is
//! not ready stands in its log.

use axum::extract::State;
use http::StatusCode;

use crate::app::AppState;

/// Whether a request sent now would be taken. Also at `/`, `/ping` and `/health/ready`.
#[utoipa::path(
    get, path = "/health", tag = "server",
    responses(
        (status = 200, description = "Ready"),
        (status = 503, description = "The model is loading, the shard is down or the server is shutting down"),
    )
)]
pub async fn ready(State(state): State<AppState>) -> StatusCode {
    status(state.is_ready())
}

/// Whether the process works. A server that loads, waits for its shard or shuts down is alive:
/// to restart it would not help.
#[utoipa::path(
    get, path = "/health/live", tag = "server",
    responses((status = 200, description = "Alive"), (status = 503, description = "To be restarted"))
)]
pub async fn live(State(state): State<AppState>) -> StatusCode {
    status(state.is_alive())
}

/// Whether the model was ever loaded.
#[utoipa::path(
    get, path = "/health/startup", tag = "server",
    responses((status = 200, description = "Loaded"), (status = 503, description = "Loading"))
)]
pub async fn startup(State(state): State<AppState>) -> StatusCode {
    status(state.model().is_ok())
}

fn status(good: bool) -> StatusCode {
    if good {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}
