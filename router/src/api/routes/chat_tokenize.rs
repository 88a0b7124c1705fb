//! `POST /chat_tokenize`: a conversation as text and as tokens.

use axum::Json as JsonResponse;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::tokenize::simple_tokens;
use crate::api::chat::input;
use crate::api::extract::Json;
use crate::api::tokenizer::Specials;
use crate::api::types::chat::ChatRequest;
use crate::api::types::native::SimpleToken;
use crate::app::AppState;
use crate::error::ApiError;

/// A conversation as the model sees it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ChatTokens {
    /// Its tokens.
    pub tokenize_response: Vec<SimpleToken>,
    /// Its text.
    pub templated_text: String,
}

/// Renders a conversation and splits it into tokens as `/v1/chat/completions` does.
///
/// # Errors
/// When the template refuses the messages, or the text cannot be tokenized.
#[utoipa::path(
    post, path = "/chat_tokenize", tag = "native", request_body = ChatRequest,
    responses((status = 200, body = ChatTokens))
)]
pub async fn chat_tokenize(
    State(state): State<AppState>,
    Json(mut request): Json<ChatRequest>,
) -> Result<JsonResponse<ChatTokens>, ApiError> {
    let model = state.model_named(request.model.as_deref())?;
    let turn = input::conversation(&mut request)?.render(&model, state.limits())?;
    let templated_text = turn.text;
    let text = templated_text.clone();
    let tokenize_response = simple_tokens(&model.tokenizer, text, Specials::Omit).await?;
    Ok(JsonResponse(ChatTokens {
        tokenize_response,
        templated_text,
    }))
}
