//! A request's JSON body, with errors that say what is wrong and where.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use http::{HeaderMap, StatusCode, header};
use memchr::memchr2;
use serde::de::DeserializeOwned;

use crate::app::AppState;
use crate::error::ApiError;
use crate::limits::LimitName;

/// A body of type `T`.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest<AppState> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        check_content_type(request.headers())?;
        let body =
            Bytes::from_request(request, state)
                .await
                .map_err(|rejection| match rejection.status() {
                    StatusCode::PAYLOAD_TOO_LARGE => ApiError::PayloadTooLarge,
                    _ => ApiError::BadJson(format!("the body could not be read: {rejection}")),
                })?;
        let http = &state.config().router.http;
        check_depth(&body, http.max_json_depth)?;
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
        serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_slice(body))
            .map_err(|error| wrong_shape(&error.path().to_string(), &error.inner().to_string()))
    })
}

/// The error about the value at `path`, which is `.` for the body itself.
fn wrong_shape(path: &str, reason: &str) -> ApiError {
    if path == "." {
        return ApiError::Invalid {
            param: missing_field(reason).map(|field| field.to_owned().into()),
            message: reason.to_owned(),
            limit: None,
        };
    }
    let field = path.split('.').next_back().unwrap_or_default().to_owned();
    ApiError::invalid(field, format!("{path}: {reason}"))
}

/// The field that serde says to be missing.
fn missing_field(reason: &str) -> Option<&str> {
    let rest = reason.strip_prefix("missing field `")?;
    rest.split('`').next()
}

/// Arrays and objects within each other take stack and time to read.
fn check_depth(body: &[u8], most: usize) -> Result<(), ApiError> {
    if is_deeper(body, most) {
        return Err(ApiError::Invalid {
            param: None,
            message: format!(
                "the body must have at most {most} arrays and objects within each other"
            ),
            limit: Some(LimitName::JsonDepth),
        });
    }
    Ok(())
}

/// Whether more than `most` arrays and objects are within each other, in what should be JSON.
fn is_deeper(mut json: &[u8], most: usize) -> bool {
    let mut depth = 0;
    while let Some((&byte, rest)) = json.split_first() {
        json = rest;
        match byte {
            b'"' => json = behind_string(rest),
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = usize::saturating_sub(depth, 1),
            _ => {}
        }
        if depth > most {
            return true;
        }
    }
    false
}

/// What follows the string whose opening quote was read; nothing when it does not end.
fn behind_string(mut json: &[u8]) -> &[u8] {
    while let Some(at) = memchr2(b'"', b'\\', json) {
        if json[at] == b'"' {
            return &json[at + 1..];
        }
        json = json.get(at + 2..).unwrap_or_default();
    }
    &[]
}

#[cfg(test)]
mod tests;
