//! `POST /tokenize`: the tokens of a prompt.

use axum::Json as JsonResponse;
use axum::extract::State;

use crate::api::extract::Json;
use crate::api::tokenizer::{Specials, Tokenizer};
use crate::api::types::native::{GenerateRequest, SimpleToken};
use crate::app::AppState;
use crate::error::ApiError;

/// Splits a prompt into tokens as `/generate` does.
///
/// # Errors
/// When the text cannot be tokenized.
#[utoipa::path(
    post, path = "/tokenize", tag = "native", request_body = GenerateRequest,
    responses((status = 200, body = Vec<SimpleToken>))
)]
pub async fn tokenize(
    State(state): State<AppState>,
    Json(request): Json<GenerateRequest>,
) -> Result<JsonResponse<Vec<SimpleToken>>, ApiError> {
    let model = state.model()?;
    simple_tokens(&model.tokenizer, request.inputs, Specials::Add)
        .await
        .map(JsonResponse)
}

/// The tokens of a text. A token that stands for none of it, such as BOS, has the text of its name.
pub(super) async fn simple_tokens(
    tokenizer: &Tokenizer,
    text: String,
    specials: Specials,
) -> Result<Vec<SimpleToken>, ApiError> {
    let spans = tokenizer.encode_spans(text.clone(), specials).await?;
    let token = |id, bytes: std::ops::Range<usize>| SimpleToken {
        id,
        start: bytes.start,
        stop: bytes.end,
        // A token that ends inside a character has no text of its own.
        text: match text.get(bytes.clone()) {
            Some("") => tokenizer.piece(id).unwrap_or_default(),
            part => part.unwrap_or_default().to_owned(),
        },
    };
    Ok(spans
        .into_iter()
        .map(|span| token(span.id, span.bytes))
        .collect())
}
