//! `POST /generate_stream`: the answer token by token.

use axum::extract::State;
use axum::response::IntoResponse;

use crate::api::extract::Json;
use crate::api::native;
use crate::api::types::native::{GenerateRequest, StreamEvent};
use crate::api::validate::Delivery;
use crate::app::AppState;
use crate::error::ApiError;

/// Continues a prompt and sends each token when it is there.
///
/// # Errors
/// See [`native::submit`]; later errors are events of the stream.
#[utoipa::path(
    post, path = "/generate_stream", tag = "native", request_body = GenerateRequest,
    responses(
        (status = 200, body = StreamEvent, content_type = "text/event-stream"),
    )
)]
pub async fn generate_stream(
    State(state): State<AppState>,
    Json(request): Json<GenerateRequest>,
) -> Result<impl IntoResponse, ApiError> {
    let model = state.model()?;
    let job = native::submit(&model, state.limits(), request, Delivery::Stream).await?;
    Ok((job.clock.stream_headers(&model.info.device), job.stream()))
}
