use serde::Deserialize;

use super::*;
use crate::api::types::native::GenerateRequest;

fn message(body: &str) -> String {
    parse::<GenerateRequest>(body.as_bytes())
        .unwrap_err()
        .to_string()
}

#[test]
fn null_equals_absent_and_unknown_fields_pass() {
    let body =
        r#"{"inputs": "x", "parameters": {"stop": null, "details": null, "new": 1}, "x": 2}"#;
    let request: GenerateRequest = parse(body.as_bytes()).unwrap();
    assert!(request.parameters.unwrap().stop.is_none());
    assert!(parse::<GenerateRequest>(br#"{"inputs": "x", "parameters": null}"#).is_ok());
}

#[test]
fn wrong_types_name_the_field() {
    let error = message(r#"{"inputs": "x", "parameters": {"max_new_tokens": "many"}}"#);
    assert!(error.contains("parameters.max_new_tokens"), "{error}");
    assert!(message(r#"{"inputs": 1}"#).contains("inputs"));
    assert!(message("{}").contains("missing field `inputs`"));
    assert!(
        message(r#"{"inputs": "x", "parameters": {"top_k": -1}}"#).contains("parameters.top_k")
    );
}

#[test]
fn text_that_is_no_json_is_a_bad_request() {
    for body in ["", "{", "inputs", "{\"inputs\": \"\u{1}\"}"] {
        let error = parse::<GenerateRequest>(body.as_bytes()).unwrap_err();
        assert!(matches!(error, ApiError::BadJson(_)), "{body}: {error}");
    }
}

#[test]
fn deep_nesting_is_refused() {
    #[derive(Debug, Deserialize)]
    struct Any {
        #[serde(rename = "a")]
        _a: serde_json::Value,
    }
    let body = format!("{{\"a\": {}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(parse::<Any>(body.as_bytes()).is_err());
}

#[test]
fn a_field_that_is_absent_is_named() {
    let missing = |body: &str| parse::<GenerateRequest>(body.as_bytes()).unwrap_err();
    let ApiError::Invalid { param, message, .. } = missing("{}") else {
        panic!("another error");
    };
    assert_eq!(param.as_deref(), Some("inputs"));
    assert!(message.starts_with("missing field `inputs`"), "{message}");
    let ApiError::Invalid { param, message, .. } = missing("\"`x`\"") else {
        panic!("another error");
    };
    assert_eq!(param, None);
    assert!(message.starts_with("invalid type: string"), "{message}");
}

#[test]
fn depth_is_bounded_on_both_sides_and_strings_do_not_count() {
    for (body, depth) in [
        ("1", 0),
        ("[]", 1),
        (r#"{"a": [{"b": []}], "c": []}"#, 4),
        (r#"["[[[", {"{\"[[": "\\"}, "\\\"[["]"#, 2),
        ("[[[", 3),
        (r#"["[[["#, 1),
        ("]]]][[", 2),
        (r#"["\"#, 1),
    ] {
        assert!(!is_deeper(body.as_bytes(), depth), "{body}");
        assert!(
            depth == 0 || is_deeper(body.as_bytes(), depth - 1),
            "{body}"
        );
    }
    assert_eq!(check_depth(b"[[]]", 2), Ok(()));
    let error = check_depth(b"[[[]]]", 2).unwrap_err();
    assert_eq!(error.limit(), Some(LimitName::JsonDepth));
    assert!(error.to_string().contains("at most 2 arrays"), "{error}");
}

#[test]
fn only_json_is_taken() {
    let check = |value: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, value.parse().unwrap());
        check_content_type(&headers).is_ok()
    };
    assert!(check("application/json") && check("Application/JSON; charset=utf-8"));
    assert!(check("application/vnd.api+json"));
    assert!(!check("text/plain") && !check("application/x-www-form-urlencoded"));
    assert!(check_content_type(&HeaderMap::new()).is_err());
}
