//! `POST /v1/embeddings`: refused in words, for clients that look for it.

use crate::error::ApiError;

/// Not served: the models here generate text.
///
/// # Errors
/// Always.
#[utoipa::path(
    post, path = "/v1/embeddings", tag = "openai",
    responses((status = 404, description = "Not served"), (status = "default", description = "See the error table"))
)]
pub async fn embeddings() -> ApiError {
    ApiError::NotServed("embeddings")
}
