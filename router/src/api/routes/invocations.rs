//! `POST /invocations`: where Amazon SageMaker sends requests of every kind.

use axum::extract::State;
use axum::response::Response;

use super::chat::chat_completions;
use super::compat::compat;
use super::completions::completions;
use crate::api::extract::Json;
use crate::api::types::hosts::AnyRequest;
use crate::app::AppState;
use crate::error::ApiError;

/// Answers as `/`, `/v1/chat/completions` or `/v1/completions` does, by the fields of the request.
///
/// # Errors
/// Those of the route that answers, in the form of the native routes.
#[utoipa::path(
    post, path = "/invocations", tag = "hosts", request_body = AnyRequest,
    responses((status = 200, description = "As of the route that answers"))
)]
pub async fn invocations(
    state: State<AppState>,
    Json(request): Json<AnyRequest>,
) -> Result<Response, ApiError> {
    match request {
        AnyRequest::Generate(request) => compat(state, Json(*request)).await,
        AnyRequest::Chat(request) => chat_completions(state, Json(*request)).await,
        AnyRequest::Completion(request) => completions(state, Json(*request)).await,
    }
}
