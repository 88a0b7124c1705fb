use axum::Router;
use axum::body::{Body, to_bytes};
use axum::middleware::from_fn;
use axum::routing::post;
use tower::ServiceExt;

use serde_json::Value;

use super::*;

const RETRY_AFTER: Duration = Duration::from_secs(7);

fn overloaded() -> ApiError {
    ApiError::Overloaded {
        limit: Limit::Requests(512),
        retry_after: RETRY_AFTER,
    }
}

fn shard_error() -> ApiError {
    let code = ShardErrorCode::EngineFailed;
    ShardError {
        code,
        message: "the step failed".into(),
        retryable: true,
    }
    .into()
}

async fn answer(path: &str, error: ApiError) -> (http::Response<()>, Value) {
    let handler = move || std::future::ready(error.clone());
    let app = Router::new()
        .route(path, post(handler))
        .layer(from_fn(shape_errors));
    let request = Request::post(path)
        .body(Body::empty())
        .expect("a valid request");
    let (parts, body) = app.oneshot(request).await.expect("infallible").into_parts();
    let body = to_bytes(body, 10_000).await.expect("a short body");
    let json = serde_json::from_slice(&body).expect("JSON");
    (http::Response::from_parts(parts, ()), json)
}

#[tokio::test]
async fn native_routes_answer_in_tgis_form() {
    let (response, body) = answer("/generate", overloaded()).await;
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["retry-after"], "7");
    assert_eq!(body["error_type"], "overloaded");
    let text = body["error"].as_str().expect("a text");
    assert!(
        text.contains("512") && text.contains("try again in 7 s"),
        "{text}"
    );
}

#[tokio::test]
async fn v1_routes_answer_in_openais_form_with_the_same_headers() {
    let (response, body) = answer("/v1/completions", overloaded()).await;
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["retry-after"], "7");
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(body["error"]["type"], "rate_limit_error");
    assert_eq!(body["error"]["code"], "overloaded");
    assert_eq!(body["error"]["param"], Value::Null);
    let (response, body) = answer(
        "/v1/completions",
        ApiError::invalid("top_k", "top_k is odd"),
    )
    .await;
    assert_eq!(response.status(), 400);
    assert_eq!(body["error"]["type"], "invalid_request_error");
    assert_eq!(body["error"]["param"], "top_k");
    let (response, body) = answer("/v1/completions", shard_error()).await;
    assert_eq!(response.status(), 500);
    assert_eq!(body["error"]["type"], "server_error");
    assert_eq!(body["error"]["code"], "engine_failed");
}

#[tokio::test]
async fn messages_routes_answer_in_anthropics_form_and_statuses() {
    for path in ["/v1/messages", "/v1/messages/count_tokens"] {
        let (response, body) = answer(path, ApiError::invalid("top_k", "top_k is odd")).await;
        assert_eq!(response.status(), 400, "{path}");
        let error = serde_json::json!({"type": "invalid_request_error", "message": "top_k is odd"});
        assert_eq!(body, serde_json::json!({"type": "error", "error": error}));
    }
    let (response, body) = answer("/v1/messages", overloaded()).await;
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["retry-after"], "7");
    assert_eq!(body["error"]["type"], "rate_limit_error");
    for (error, status, kind) in [
        (shard_error(), 500, "api_error"),
        (ApiError::PayloadTooLarge, 413, "request_too_large"),
        (ApiError::Timeout(RETRY_AFTER), 504, "timeout_error"),
        (ApiError::Internal("x".into()), 500, "api_error"),
        (ApiError::MethodNotAllowed, 405, "invalid_request_error"),
        (ApiError::NotFound, 404, "not_found_error"),
    ] {
        let (response, body) = answer("/v1/messages", error).await;
        assert_eq!(
            (response.status().as_u16(), &body["error"]["type"]),
            (status, &kind.into())
        );
    }
    let (_, body) = answer("/v1/messagesX", overloaded()).await;
    assert_eq!(body["error"]["code"], "overloaded");
}

#[test]
fn every_error_has_its_status_and_type() {
    let second = Duration::from_secs(1);
    let text = || String::from("x");
    for (error, status, error_type) in [
        (ApiError::invalid("x", "y"), 422, "validation"),
        (ApiError::BadJson(text()), 400, "bad_request"),
        (ApiError::BodyTimeout(second), 408, "body_timeout"),
        (ApiError::PayloadTooLarge, 413, "payload_too_large"),
        (
            ApiError::UnsupportedMediaType,
            415,
            "unsupported_media_type",
        ),
        (ApiError::NotFound, 404, "not_found"),
        (ApiError::NotServed("x"), 404, "not_served"),
        (ApiError::MethodNotAllowed, 405, "method_not_allowed"),
        (
            ApiError::Unauthorized(Challenge::Bearer),
            401,
            "unauthorized",
        ),
        (ApiError::ModelNotFound(text()), 404, "model_not_found"),
        (ApiError::AdapterNotFound(text()), 404, "adapter_not_found"),
        (
            ApiError::ResponseNotFound(text()),
            404,
            "response_not_found",
        ),
        (
            ApiError::TemplateError {
                message: text(),
                limit: None,
            },
            422,
            "template_error",
        ),
        (ApiError::BodyTooSlow(1024), 408, "body_too_slow"),
        (overloaded(), 429, "overloaded"),
        (
            ApiError::Unavailable {
                reason: text(),
                retry_after: second,
            },
            503,
            "unavailable",
        ),
        (shard_error(), 424, "generation"),
        (ApiError::Timeout(second), 504, "timeout"),
        (ApiError::SlowReader(second), 408, "slow_reader"),
        (ApiError::IncompleteGeneration, 500, "incomplete_generation"),
        (ApiError::Internal(text()), 500, "internal"),
    ] {
        assert_eq!(error.status(), status, "{error:?}");
        assert_eq!(error.error_type(), error_type, "{error:?}");
    }
}
