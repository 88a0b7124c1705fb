//! A request's JSON body, with errors that say what is wrong and where.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// A body of type `T`.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        check_content_type(request.headers())?;
        let body =
            Bytes::from_request(request, state)
                .await
                .map_err(|rejection| match rejection.status() {
                    StatusCode::PAYLOAD_TOO_LARGE => ApiError::PayloadTooLarge,
                    _ => ApiError::BadJson(format!("the body could not be read: {rejection}")),
                })?;
        parse(&body).map(Self)
    }
}

fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let value = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let mime = value
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    let mime = mime.to_ascii_lowercase();
    if mime == "application/json" || (mime.starts_with("application/") && mime.ends_with("+json")) {
        return Ok(());
    }
    Err(ApiError::UnsupportedMediaType)
}

/// Reads JSON. A body that is no JSON is a bad request; JSON of the wrong shape breaks a rule about
/// the field that is named in the error.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).or_else(|error| {
        if !error.is_data() {
            return Err(ApiError::BadJson(format!("the body is no JSON: {error}")));
        }
        // Names the field; done only now because it costs time.
        serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_slice(body)).map_err(
            |error| {
                let (path, reason) = (error.path().to_string(), error.inner().to_string());
                let field = path.split('.').next_back().unwrap_or_default().to_owned();
                ApiError::invalid(field, format!("{path}: {reason}"))
            },
        )
    })
}

#[cfg(test)]
mod tests;
