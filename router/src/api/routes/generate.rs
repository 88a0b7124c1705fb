//! `POST /generate`: the whole answer to a prompt.

use axum::Json as JsonResponse;
use axum::extract::State;
use axum::response::IntoResponse;

use crate::api::extract::Json;
use crate::api::native;
use crate::api::types::native::{GenerateRequest, GenerateResponse};
use crate::api::validate::Delivery;
use crate::app::AppState;
use crate::error::ApiError;

/// Continues a prompt.
///
/// # Errors
/// See [`native::submit`] and [`native::Job::complete`].
#[utoipa::path(
    post, path = "/generate", tag = "native", request_body = GenerateRequest,
    responses((status = 200, body = GenerateResponse))
)]
pub async fn generate(
    State(state): State<AppState>,
    Json(request): Json<GenerateRequest>,
) -> Result<impl IntoResponse, ApiError> {
    let model = state.model()?;
    let job = native::submit(&model, state.limits(), request, Delivery::Whole).await?;
    let clock = job.clock;
    let (answers, shape) = job.complete().await?;
    let headers = clock.headers(&model.info.device, &answers);
    Ok((headers, JsonResponse(native::response(answers, &shape))))
}
