//! The id of a request: the client's own when it is a fit one, else a new one.

use http::{HeaderMap, HeaderValue};
use uuid::Uuid;

pub(super) const X_REQUEST_ID: &str = "x-request-id";
/// Longest id of a client, in bytes.
const MAX_BYTES: usize = 128;

/// The id of a request with these headers.
pub(super) fn of(headers: &HeaderMap) -> HeaderValue {
    sent_id(headers).unwrap_or_else(new_id)
}

/// The client's id, if it may stand in a log line: short, and of letters, digits and `-_.:/+=@`.
fn sent_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let id = headers.get(X_REQUEST_ID)?;
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte);
    let fit = (1..=MAX_BYTES).contains(&id.len()) && id.as_bytes().iter().all(plain);
    fit.then(|| id.clone())
}

fn new_id() -> HeaderValue {
    HeaderValue::from_str(&Uuid::new_v4().to_string()).expect("an uuid is ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(id: &[u8]) -> bool {
        let value = HeaderValue::from_bytes(id).expect("a header value");
        let headers = HeaderMap::from_iter([(http::HeaderName::from_static(X_REQUEST_ID), value)]);
        sent_id(&headers).is_some()
    }

    #[test]
    fn an_id_is_kept_when_it_is_short_and_plain() {
        for id in ["a", "req_1-2.3:4/5+6=7@8", &"x".repeat(MAX_BYTES)] {
            assert!(kept(id.as_bytes()), "{id}");
        }
        for id in [
            "",
            "a b",
            "a\"b",
            "a,b",
            "\u{fc}",
            &"x".repeat(MAX_BYTES + 1),
        ] {
            assert!(!kept(id.as_bytes()), "{id}");
        }
        assert_eq!(new_id().len(), 36);
    }
}
