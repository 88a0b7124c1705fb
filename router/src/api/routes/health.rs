//! `GET /health`, `/ping` and `/`: whether a request sent now would be taken.

use axum::extract::State;

use crate::app::AppState;
use crate::error::ApiError;

/// Empty when the server is ready.
///
/// # Errors
/// 503 while the model is loading, the shard is down or the server is shutting down.
#[utoipa::path(
    get, path = "/health", tag = "server",
    responses((status = 200, description = "Ready"), (status = 503, description = "Not ready"))
)]
pub async fn health(State(state): State<AppState>) -> Result<(), ApiError> {
    state.check_ready()
}
