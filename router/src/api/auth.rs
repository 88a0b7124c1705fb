//! Keys of clients: which routes need one, and where a request may carry it.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::app::AppState;
use crate::error::{ApiError, Challenge};
use crate::exchange;
use crate::keys::Tenant;
use crate::metrics;

/// Anthropic's clients send their key here.
const X_API_KEY: &str = "x-api-key";

/// Who may use a route, once a key is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Open,
    /// Holders of a key.
    Key,
    /// Holders of a key. Its pages are opened by browsers, which ask for the key as a password.
    Page,
    /// Holders of a key, or everybody if the operator says so.
    Metrics,
}

impl Access {
    /// Whether the route needs a key that is set.
    #[must_use]
    pub fn needs_key(self, open_metrics: bool) -> bool {
        match self {
            Self::Open => false,
            Self::Key | Self::Page => true,
            Self::Metrics => !open_metrics,
        }
    }

    fn challenge(self) -> Challenge {
        match self {
            Self::Page => Challenge::Password,
            _ => Challenge::Bearer,
        }
    }
}

/// Lets a request pass when it carries a key, or when none is needed; tells the handler its
/// [`Tenant`].
///
/// # Errors
/// 401 otherwise.
pub async fn check_key(
    State((state, access)): State<(AppState, Access)>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let tenant =
        if !access.needs_key(state.config().router.open_metrics) || state.keys().are_absent() {
            Tenant::default()
        } else {
            let key = sent_key(request.headers());
            let tenant = key.and_then(|key| state.keys().tenant_of(&key));
            tenant.ok_or(ApiError::Unauthorized(access.challenge()))?
        };
    if access != Access::Open {
        metrics::tenant_request(&tenant);
    }
    tracing::Span::current().record("tenant", tenant.name());
    if let Some(exchange) = exchange::current() {
        exchange.comes_from(&tenant);
    }
    request.extensions_mut().insert(tenant);
    Ok(next.run(request).await)
}

/// The key of a request: a bearer token, the password of basic credentials, or Anthropic's header.
/// Credentials in `authorization` go first, whether right or wrong.
fn sent_key(headers: &HeaderMap) -> Option<Vec<u8>> {
    match headers.get(AUTHORIZATION) {
        Some(value) => credentials(value.as_bytes()),
        None => Some(headers.get(X_API_KEY)?.as_bytes().to_vec()),
    }
}

/// The scheme's case does not matter, the key's does.
fn credentials(header: &[u8]) -> Option<Vec<u8>> {
    let blank = header.iter().position(|&byte| byte == b' ')?;
    let (scheme, rest) = (&header[..blank], header[blank..].trim_ascii());
    if scheme.eq_ignore_ascii_case(b"bearer") {
        return Some(rest.to_vec());
    }
    if scheme.eq_ignore_ascii_case(b"basic") {
        let pair = BASE64_STANDARD.decode(rest).ok()?;
        let colon = pair.iter().position(|&byte| byte == b':')?;
        return Some(pair[colon + 1..].to_vec());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_a_bearer_token_or_a_password() {
        let key = |header: &[u8]| {
            credentials(header).map(|key| String::from_utf8_lossy(&key).into_owned())
        };
        assert_eq!(key(b"Bearer Key").as_deref(), Some("Key"));
        assert_eq!(key(b"bearer  Key ").as_deref(), Some("Key"));
        let basic = format!("Basic {}", BASE64_STANDARD.encode("anybody:K:ey"));
        assert_eq!(key(basic.as_bytes()).as_deref(), Some("K:ey"));
        for none in ["Basic Key", "Digest Key", "Bearer", "Key", "", "Basic a2V5"] {
            assert_eq!(key(none.as_bytes()), None, "{none:?}");
        }
    }

    #[test]
    fn the_authorization_header_goes_before_anthropics() {
        let mut headers = HeaderMap::new();
        assert_eq!(sent_key(&headers), None);
        headers.insert(X_API_KEY, "theirs".parse().expect("a value"));
        assert_eq!(sent_key(&headers), Some(b"theirs".to_vec()));
        headers.insert(AUTHORIZATION, "Bearer ours".parse().expect("a value"));
        assert_eq!(sent_key(&headers), Some(b"ours".to_vec()));
        headers.insert(AUTHORIZATION, "nonsense".parse().expect("a value"));
        assert_eq!(sent_key(&headers), None);
    }
}
