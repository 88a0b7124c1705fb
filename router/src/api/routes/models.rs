//! `GET /v1/models`: what can be asked for.

use axum::Json;
use axum::extract::State;

use crate::api::openai::unix_seconds;
use crate::api::types::info::{ModelEntry, ModelList};
use crate::app::AppState;
use crate::error::ApiError;

/// The served models.
///
/// # Errors
/// 503 while the model is loading.
#[utoipa::path(
    get, path = "/v1/models", tag = "openai",
    responses((status = 200, body = ModelList), (status = 503, description = "Loading"))
)]
pub async fn models(State(state): State<AppState>) -> Result<Json<ModelList>, ApiError> {
    let model = state.model()?;
    let entry = ModelEntry {
        id: model.info.model_id.clone(),
        object: "model",
        created: unix_seconds(model.loaded_at),
        owned_by: model.info.model_id.clone(),
    };
    Ok(Json(ModelList {
        object: "list",
        data: vec![entry],
    }))
}
