//! `GET /v1/models`, `GET /v1/models/{id}`: what can be asked for.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};

use crate::api::openai::unix_seconds;
use crate::api::types::info::{ModelEntry, ModelList};
use crate::app::AppState;
use crate::error::ApiError;
use crate::model::Model;

/// The served models.
///
/// # Errors
/// 503 while the model is loading.
#[utoipa::path(
    get, path = "/v1/models", tag = "openai",
    responses((status = 200, body = ModelList))
)]
pub async fn models(State(state): State<AppState>) -> Result<Json<ModelList>, ApiError> {
    Ok(Json(ModelList {
        object: "list",
        data: vec![entry(&*state.model()?)],
    }))
}

/// One model, by its id or a name that means it.
///
/// # Errors
/// 404 when it is not served, 503 while the model is loading.
#[utoipa::path(
    get, path = "/v1/models/{id}", tag = "openai",
    params(("id" = String, Path, description = "The model's id; its `/` as `%2F`")),
    responses(
        (status = 200, body = ModelEntry),
    )
)]
pub async fn model(
    State(state): State<AppState>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<ModelEntry>, ApiError> {
    // An id that is no text is nobody's.
    let Path(id) = id.map_err(|rejection| ApiError::ModelNotFound(rejection.body_text()))?;
    Ok(Json(entry(&*state.model_named(Some(&id))?)))
}

fn entry(model: &Model) -> ModelEntry {
    ModelEntry {
        id: model.info.model_id.clone(),
        object: "model",
        created: unix_seconds(model.loaded_at),
        owned_by: model.info.model_id.clone(),
    }
}
