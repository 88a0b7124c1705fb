//! `/v1/messages` and `/v1/messages/count_tokens`.

use serde_json::{Value, json};
use text_generation_router::keys::TenantKey;

use crate::fixture::EOS;
use crate::support::{MODEL, Script, TestServer, bytes};
use crate::typed::{events, types};

const PATH: &str = "/v1/messages";

async fn saying(text: &str) -> TestServer {
    TestServer::saying(Script::of(text).then(EOS).cached(2)).await
}

fn hello() -> Value {
    json!({"model": "tgi", "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}]})
}

fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

fn stable(mut message: Value) -> Value {
    let id = message.as_object_mut().expect("an object").remove("id");
    let id = id.expect("an id");
    assert!(id.as_str().expect("a text").starts_with("msg_"), "{id}");
    message
}

#[tokio::test]
async fn a_conversation_is_answered_with_a_message() {
    let server = saying("Hello").await;
    let reply = server.post(PATH, hello()).await;
    assert_eq!(server.asked().tokens, bytes("user: Hi\nassistant: "));
    assert_eq!(reply.header("x-prompt-tokens"), "20");
    let usage = json!({"input_tokens": 18, "output_tokens": 6, "cache_read_input_tokens": 2,
                       "cache_creation_input_tokens": 0});
    let expected = json!({
        "type": "message", "role": "assistant", "model": MODEL,
        "content": [{"type": "text", "text": "Hello"}],
        "stop_reason": "end_turn", "stop_sequence": null, "usage": usage,
    });
    assert_eq!(stable(reply.json()), expected);
}

#[tokio::test]
async fn a_stream_tells_the_same_in_order() {
    let server = saying("Hé").await;
    let whole = server.post(PATH, hello()).await.json();
    let events = events(&server, PATH, with(hello(), "stream", json!(true))).await;
    let expected = [
        "message_start",
        "ping",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ];
    assert_eq!(types(&events), expected);
    let start = &events[0]["message"];
    assert_eq!(start["content"], json!([]));
    assert_eq!(start["stop_reason"], Value::Null);
    let usage = json!({"input_tokens": 20, "output_tokens": 0, "cache_read_input_tokens": null,
                       "cache_creation_input_tokens": 0});
    assert_eq!(start["usage"], usage, "nothing is computed yet");
    assert_eq!(
        events[2]["content_block"],
        json!({"type": "text", "text": ""})
    );
    let text: String = events
        .iter()
        .filter_map(|event| event["delta"]["text"].as_str())
        .collect();
    assert_eq!(text, "Hé");
    let end = &events[6];
    assert_eq!(
        end["delta"],
        json!({"stop_reason": "end_turn", "stop_sequence": null})
    );
    assert_eq!(end["usage"], whole["usage"]);
}

#[tokio::test]
async fn the_reason_for_the_end_is_told() {
    let server = saying("one two three").await;
    let cases = [
        (json!({"max_tokens": 3}), "one", "max_tokens", Value::Null),
        (
            json!({"stop_sequences": ["x", " t"]}),
            "one",
            "stop_sequence",
            json!(" t"),
        ),
        (
            json!({"stop_sequences": [" two t", " tw"]}),
            "one",
            "stop_sequence",
            json!(" tw"),
        ),
        (
            json!({"stop_sequences": ["zzz"]}),
            "one two three",
            "end_turn",
            Value::Null,
        ),
    ];
    for (fields, text, reason, sequence) in cases {
        let mut body = hello();
        for (field, value) in fields.as_object().expect("an object") {
            body[field] = value.clone();
        }
        let message = server.post(PATH, body.clone()).await.json();
        assert_eq!(message["content"][0]["text"], text);
        assert_eq!(message["stop_reason"], reason);
        assert_eq!(message["stop_sequence"], sequence);
        let events = events(&server, PATH, with(body, "stream", json!(true))).await;
        let end = &events[events.len() - 2]["delta"];
        assert_eq!(
            *end,
            json!({"stop_reason": reason, "stop_sequence": sequence})
        );
    }
}

#[tokio::test]
async fn an_answer_ends_where_the_context_ends() {
    let server = TestServer::saying(Script::tokens(vec![97; 5000])).await;
    for (max_tokens, tokens, reason) in [
        (4076, 4076, "max_tokens"),
        (4077, 4076, "model_context_window_exceeded"),
        (u32::MAX, 4076, "model_context_window_exceeded"),
    ] {
        let body = with(hello(), "max_tokens", json!(max_tokens));
        let message = server.post(PATH, body).await.json();
        assert_eq!(message["usage"]["output_tokens"], tokens);
        assert_eq!(message["stop_reason"], reason);
    }
    let long = json!([{"role": "user", "content": "x".repeat(4096)}]);
    let reply = server.post(PATH, with(hello(), "messages", long)).await;
    assert_eq!(reply.status, 400, "{}", reply.body);
    assert!(
        reply.body.contains("the prompt has 4114 tokens"),
        "{}",
        reply.body
    );
}

#[tokio::test]
async fn a_failure_in_a_stream_is_its_last_event() {
    let server = TestServer::saying(Script::of("He").failing("the step failed")).await;
    let events = events(&server, PATH, with(hello(), "stream", json!(true))).await;
    let error = json!({"type": "api_error", "message": "the step failed"});
    assert_eq!(
        events.last(),
        Some(&json!({"type": "error", "error": error}))
    );
}

#[tokio::test]
async fn tokens_are_counted_without_an_answer() {
    let server = saying("Hello").await;
    let reply = server
        .post(
            "/v1/messages/count_tokens",
            json!({"messages": hello()["messages"], "system": null}),
        )
        .await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert_eq!(reply.json(), json!({"input_tokens": 20}));
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_in_anthropics_form() {
    let server = saying("Hello").await;
    let image = json!([{"role": "user", "content": [{"type": "image", "source": {}}]}]);
    for (field, value, says) in [
        ("max_tokens", json!(0), "max_tokens must be at least 1"),
        ("max_tokens", Value::Null, "max_tokens"),
        ("temperature", json!(1.5), "from 0 to 1, got 1.5"),
        ("top_p", json!(0), "top_p"),
        ("stop_sequences", json!([""]), "must not be empty"),
        (
            "stop_sequences",
            json!(["a", "b", "c", "d", "e"]),
            "stop_sequences must have at most 4",
        ),
        (
            "thinking",
            json!({"type": "enabled", "budget_tokens": 1024}),
            "thinking",
        ),
        (
            "tools",
            json!([{"type": "bash_20250124", "name": "bash"}]),
            "bash_20250124",
        ),
        ("messages", image, "\"image\""),
        (
            "output_config",
            json!({"effort": "high"}),
            "output_config.effort",
        ),
        (
            "output_config",
            json!({"format": {"type": "xml"}}),
            "json_schema, got \"xml\"",
        ),
        (
            "output_config",
            json!({"format": {"type": "json_schema"}}),
            "needs the schema",
        ),
        ("messages", json!([]), "1 to 1024"),
    ] {
        let reply = server.post(PATH, with(hello(), field, value)).await;
        assert_eq!(reply.status, 400, "{field}: {}", reply.body);
        let body = reply.json();
        assert_eq!(body["type"], "error");
        assert_eq!(body["error"]["type"], "invalid_request_error");
        assert!(
            body["error"]["message"]
                .as_str()
                .expect("a text")
                .contains(says),
            "{body}"
        );
    }
    let reply = server
        .post(PATH, with(hello(), "model", json!("claude")))
        .await;
    assert_eq!(reply.status, 404);
    assert_eq!(reply.json()["error"]["type"], "not_found_error");
}

#[tokio::test]
async fn a_key_comes_in_either_header() {
    let server = TestServer::tuned(|router| {
        let key = TenantKey::of_default_tenant("Secret");
        router.api_keys.push(key.expect("a sendable key"));
    })
    .await;
    assert_eq!(server.post(PATH, hello()).await.status, 401);
    let reply = server.post(PATH, hello()).await;
    assert_eq!(reply.json()["error"]["type"], "authentication_error");
    let bearer = ("authorization", "Bearer Secret");
    assert_eq!(server.post_with(PATH, bearer, hello()).await.status, 200);
    for (key, status) in [("Secret", 200), ("secret", 401), ("", 401)] {
        let reply = server.post_with(PATH, ("x-api-key", key), hello()).await;
        assert_eq!(reply.status, status, "{key:?}");
    }
}

fn calling() -> Script {
    Script::of(
        "So: <tool_call>\n{\"name\": \"f\", \"arguments\": {\"b\": 1, \"a\": {}}}\n</tool_call>",
    )
    .then(EOS)
}

fn tools() -> Value {
    json!([{"name": "f", "description": "Does f.", "input_schema": {"type": "object"}}])
}

#[tokio::test]
async fn uses_of_tools_are_blocks_of_their_own() {
    let server = TestServer::saying(calling()).await;
    let body = with(hello(), "tools", tools());
    let body = with(body, "max_tokens", json!(200));
    let message = server.post(PATH, body.clone()).await.json();
    assert_eq!(message["stop_reason"], "tool_use");
    assert_eq!(
        message["content"][0],
        json!({"type": "text", "text": "So:"})
    );
    let block = &message["content"][1];
    assert_eq!(
        (&block["type"], &block["name"]),
        (&json!("tool_use"), &json!("f"))
    );
    assert_eq!(
        block["input"].to_string(),
        "{\"b\":1,\"a\":{}}",
        "in the model's order"
    );
    let events = events(&server, PATH, with(body.clone(), "stream", json!(true))).await;
    let kinds = types(&events);
    let starts = kinds
        .iter()
        .filter(|&&kind| kind == "content_block_start")
        .count();
    let stops = kinds
        .iter()
        .filter(|&&kind| kind == "content_block_stop")
        .count();
    assert_eq!((starts, stops), (2, 2));
    let json: String = events
        .iter()
        .filter_map(|event| event["delta"]["partial_json"].as_str())
        .collect();
    assert_eq!(json, "{\"b\": 1, \"a\": {}}");
    // Sent back, with the result.
    let result = json!([{"type": "tool_result", "tool_use_id": block["id"], "content": "42"}]);
    let messages = json!([
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": message["content"]},
        {"role": "user", "content": result},
    ]);
    let body = with(body, "tools", Value::Null);
    server.post(PATH, with(body, "messages", messages)).await;
    let turn = "user: Hi\nassistant: So:\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"b\":1,\"a\":{}}}\n</tool_call>\n\
                user: <tool_response>\n42\n</tool_response>\nassistant: ";
    assert_eq!(server.asked().tokens, bytes(turn));
}

#[tokio::test]
async fn a_use_that_is_cut_off_is_left_out() {
    let server = TestServer::saying(calling()).await;
    let body = with(hello(), "tools", tools());
    let message = server
        .post(PATH, with(body, "max_tokens", json!(50)))
        .await
        .json();
    assert_eq!(message["stop_reason"], "max_tokens");
    assert_eq!(message["content"], json!([{"type": "text", "text": "So:"}]));
}
