//! The surface, field by field: what each takes and what it refuses. Every field that the server's
//! description declares has a row in [`rows`].

use serde_json::{Value, json};

use crate::fixture::EOS;
use crate::support::{Script, TestServer};

mod conversations;
mod rows;

use conversations::{message_rows, response_rows};
use rows::{Row, chat_rows, completion_rows, native_rows};

fn with(base: &Value, fields: &Value) -> Value {
    let mut body = base.clone();
    let fields = fields.as_object().expect("an object").clone();
    body.as_object_mut().expect("an object").extend(fields);
    body
}

/// Sends every request of the rows, which are all the fields of the schema.
async fn check(
    rows: Vec<Row>,
    (schema, path, refusal): (&str, &str, u16),
    request: impl Fn(&Value) -> Value,
) {
    let server = TestServer::saying(Script::of("5").then(EOS)).await;
    let document = server.get("/openapi.json").await.json();
    let declared = &document["components"]["schemas"][schema]["properties"];
    let mut declared: Vec<_> = declared.as_object().expect("fields").keys().collect();
    let mut named: Vec<_> = rows.iter().map(|row| row.0.to_owned()).collect();
    declared.sort();
    named.sort();
    assert!(declared.into_iter().eq(&named), "{named:?}");
    for (field, good, bad) in rows {
        for fields in good {
            let reply = server.post(path, request(&fields)).await;
            assert_eq!(reply.status, 200, "{field} {fields}: {}", reply.body);
        }
        for (fields, says) in bad {
            let reply = server.post(path, request(&fields)).await;
            assert_eq!(reply.status, refusal, "{field} {fields}: {}", reply.body);
            assert!(
                reply.body.contains(says),
                "{field} {fields}: {}",
                reply.body
            );
        }
    }
}

#[tokio::test]
async fn every_native_parameter_keeps_its_range() {
    let request = |fields: &Value| json!({"inputs": "x", "parameters": fields});
    check(native_rows(), ("Parameters", "/generate", 422), request).await;
}

#[tokio::test]
async fn every_field_of_a_chat_keeps_its_range() {
    let base = json!({"messages": [{"role": "user", "content": "x"}]});
    let request = |fields: &Value| with(&base, fields);
    check(
        chat_rows(),
        ("ChatRequest", "/v1/chat/completions", 400),
        request,
    )
    .await;
}

#[tokio::test]
async fn every_field_of_a_completion_keeps_its_range() {
    let base = json!({"prompt": "x"});
    let request = |fields: &Value| with(&base, fields);
    check(
        completion_rows(),
        ("CompletionRequest", "/v1/completions", 400),
        request,
    )
    .await;
}

#[tokio::test]
async fn every_field_of_a_response_keeps_its_range() {
    let base = json!({"input": "x"});
    let request = |fields: &Value| with(&base, fields);
    check(
        response_rows(),
        ("ResponsesRequest", "/v1/responses", 400),
        request,
    )
    .await;
}

#[tokio::test]
async fn every_field_of_a_message_keeps_its_range() {
    let base = json!({"messages": [{"role": "user", "content": "x"}], "max_tokens": 5});
    let request = |fields: &Value| with(&base, fields);
    check(
        message_rows(),
        ("MessagesRequest", "/v1/messages", 400),
        request,
    )
    .await;
}

#[tokio::test]
async fn what_cannot_be_streamed_is_refused_on_every_native_route() {
    let server = TestServer::saying(Script::of("5").then(EOS)).await;
    for path in ["/generate_stream", "/"] {
        for parameters in [
            json!({"decoder_input_details": true}),
            json!({"best_of": 2, "do_sample": true}),
        ] {
            let body = json!({"inputs": "x", "parameters": parameters, "stream": true});
            let reply = server.post(path, body).await;
            assert_eq!(reply.status, 422, "{path}");
            assert!(reply.body.contains("cannot be streamed"), "{}", reply.body);
        }
    }
}

#[tokio::test]
async fn an_unknown_adapter_is_not_another_model() {
    let server = TestServer::saying(Script::of("5").then(EOS)).await;
    for path in ["/generate", "/generate_stream", "/", "/invocations"] {
        let body = json!({"inputs": "x", "parameters": {"adapter_id": "lora"}});
        let reply = server.post(path, body).await;
        assert_eq!(reply.status, 404, "{path}");
        assert_eq!(reply.json()["error_type"], "adapter_not_found");
    }
}

/// Table 1.1 of TGI's interface and what is beside it here.
#[tokio::test]
async fn every_route_that_clients_look_for_is_there() {
    let server = TestServer::saying(Script::of("5").then(EOS)).await;
    for path in [
        "/",
        "/info",
        "/health",
        "/health/live",
        "/health/ready",
        "/health/startup",
        "/ping",
        "/metrics",
        "/docs/",
        "/openapi.json",
        "/v1/models",
        "/playground",
    ] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
    let inputs = json!({"inputs": "x"});
    let messages = json!({"messages": [{"role": "user", "content": "x"}], "max_tokens": 5});
    for (path, body) in [
        ("/", &inputs),
        ("/generate", &inputs),
        ("/generate_stream", &inputs),
        ("/tokenize", &inputs),
        ("/invocations", &inputs),
        ("/vertex", &json!({"instances": [inputs]})),
        ("/chat_tokenize", &messages),
        ("/v1/chat/completions", &messages),
        ("/v1/completions", &json!({"prompt": "x"})),
        ("/v1/responses", &json!({"input": "x"})),
        ("/v1/messages", &messages),
        ("/v1/messages/count_tokens", &messages),
    ] {
        assert_eq!(server.post(path, body.clone()).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn the_facts_are_those_of_tgi() {
    let server = TestServer::saying(Script::of("5").then(EOS)).await;
    let info = server.get("/info").await.json();
    for field in [
        "model_id",
        "model_sha",
        "model_dtype",
        "model_device_type",
        "model_pipeline_tag",
        "max_concurrent_requests",
        "max_best_of",
        "max_stop_sequences",
        "max_input_tokens",
        "max_total_tokens",
        "validation_workers",
        "max_client_batch_size",
        "router",
        "version",
        "sha",
        "docker_label",
    ] {
        assert!(info.get(field).is_some(), "{field}");
    }
}
