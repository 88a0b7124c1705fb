//! `GET /info`: facts about the server.

use axum::Json;
use axum::extract::State;

use crate::api::types::info::Info;
use crate::app::AppState;
use crate::error::ApiError;

/// The model, its limits and the server's.
///
/// # Errors
/// 503 while the model is loading.
#[utoipa::path(
    get, path = "/info", tag = "server",
    responses((status = 200, body = Info))
)]
pub async fn info(State(state): State<AppState>) -> Result<Json<Info>, ApiError> {
    let model = state.model()?;
    let limits = state.limits();
    Ok(Json(Info {
        model_id: model.info.model_id.clone(),
        model_sha: (!model.info.model_revision.is_empty())
            .then(|| model.info.model_revision.clone()),
        model_pipeline_tag: "text-generation",
        model_dtype: model.info.weights.clone(),
        model_device_type: model.info.device.clone(),
        max_concurrent_requests: limits.max_concurrent_requests,
        max_best_of: limits.max_best_of,
        max_stop_sequences: limits.max_stop_sequences,
        max_input_tokens: model.info.max_input_tokens,
        max_total_tokens: model.info.max_total_tokens,
        validation_workers: state.config().router.validation_workers,
        max_client_batch_size: limits.max_client_batch_size,
        router: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        sha: option_env!("GIT_SHA").filter(|sha| !sha.is_empty()),
        docker_label: option_env!("DOCKER_LABEL").filter(|label| !label.is_empty()),
    }))
}
