//! The bearer key, when the operator set one.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use subtle::ConstantTimeEq;

use crate::app::AppState;
use crate::error::ApiError;

/// Where Anthropic's clients send their key.
const X_API_KEY: &str = "x-api-key";

/// Lets a request pass when it carries the key, or when none is set.
///
/// # Errors
/// 401 otherwise.
pub async fn require_key(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if let Some(key) = &state.config().router.api_key {
        let sent = sent_key(request.headers()).ok_or(ApiError::Unauthorized)?;
        // Takes the same time wherever the first difference is.
        if !bool::from(sent.ct_eq(key.expose().as_bytes())) {
            return Err(ApiError::Unauthorized);
        }
    }
    Ok(next.run(request).await)
}

/// The key that a request carries. That of the `authorization` header goes first, right or wrong.
fn sent_key(headers: &HeaderMap) -> Option<&[u8]> {
    match headers.get(AUTHORIZATION) {
        Some(value) => bearer(value.as_bytes()),
        None => Some(headers.get(X_API_KEY)?.as_bytes()),
    }
}

/// The token of a `Bearer` header; the scheme's case does not matter, the token's does.
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked(b"bearer ".len())?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then_some(token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::bearer;

    #[test]
    fn takes_the_token_of_a_bearer_header() {
        assert_eq!(bearer(b"Bearer Key"), Some(&b"Key"[..]));
        assert_eq!(bearer(b"bearer  Key "), Some(&b"Key"[..]));
        assert_eq!(bearer(b"Basic Key"), None);
        assert_eq!(bearer(b"Bearer"), None);
    }
}
