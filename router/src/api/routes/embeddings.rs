//! `POST /v1/embeddings`: refused in words, for clients that look for it.

use crate::error::ApiError;

/// Not served: the models here generate text.
///
/// # Errors
/// Always.
#[utoipa::path(post, path = "/v1/embeddings", tag = "openai", responses())]
pub async fn embeddings() -> ApiError {
    ApiError::NotServed("embeddings")
}
