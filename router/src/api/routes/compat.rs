//! `POST /`: `/generate` or `/generate_stream` by the field `stream`.

use axum::Json as JsonResponse;
use axum::extract::State;
use axum::response::{IntoResponse, Response};

use crate::api::extract::Json;
use crate::api::native;
use crate::api::types::native::{GenerateRequest, GenerateResponse, StreamEvent};
use crate::api::validate::Delivery;
use crate::app::AppState;
use crate::error::ApiError;

/// Continues a prompt. The whole answer is a list of one; a stream is that of `/generate_stream`.
///
/// # Errors
/// See [`native::submit`] and [`native::Job::complete`].
#[utoipa::path(
    post, path = "/", tag = "native", request_body = GenerateRequest,
    responses(
        (status = 200, content((Vec<GenerateResponse> = "application/json"), (StreamEvent = "text/event-stream")))
    )
)]
pub async fn compat(
    State(state): State<AppState>,
    Json(request): Json<GenerateRequest>,
) -> Result<Response, ApiError> {
    let model = state.model()?;
    let delivery = Delivery::of(request.stream);
    let job = native::submit(&model, state.limits(), request, delivery).await?;
    let clock = job.clock;
    if delivery == Delivery::Stream {
        return Ok((clock.stream_headers(&model.info.device), job.stream()).into_response());
    }
    let (answers, shape) = job.complete().await?;
    let headers = clock.headers(&model.info.device, &answers);
    Ok((headers, JsonResponse([native::response(answers, &shape)])).into_response())
}
