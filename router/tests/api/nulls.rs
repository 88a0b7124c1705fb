//! An explicit null is as good as nothing: for every optional field of every request, as the
//! server's own description declares them.

use serde_json::{Map, Value, json};

use crate::fixture::EOS;
use crate::support::{Reply, Script, TestServer};

/// A request for each route, with every object that a request may hold.
fn sample(path: &str) -> Value {
    let call = json!({"id": "c", "function": {"name": "f", "arguments": "{}"}});
    let messages = json!([
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {"role": "assistant", "content": "Well", "tool_calls": [call]},
        {"role": "tool", "content": "42", "tool_call_id": "c"},
    ]);
    let function = json!({"name": "f", "parameters": {"type": "object"}});
    let chat = json!({
        "messages": messages, "tools": [{"type": "function", "function": function}],
        "response_format": {"type": "text"}, "stream_options": {},
    });
    let used = json!([{"type": "tool_use", "id": "c", "name": "f", "input": {}}]);
    let result = json!([{"type": "tool_result", "tool_use_id": "c",
                         "content": [{"type": "text", "text": "42"}]}]);
    let turns = json!([
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {"role": "assistant", "content": used}, {"role": "user", "content": result},
    ]);
    let tool = json!({"name": "f", "input_schema": {"type": "object"}});
    let native = json!({"inputs": "x", "parameters": {}});
    match path {
        "/" | "/generate" | "/generate_stream" | "/tokenize" | "/invocations" => native,
        "/vertex" => json!({"instances": [native, chat]}),
        "/v1/chat/completions" | "/chat_tokenize" => chat,
        "/v1/completions" => json!({"prompt": "x", "stream_options": {}}),
        "/v1/responses" => json!({
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": "42"},
            ],
            "tools": [{"type": "function", "name": "f"}], "text": {"format": {"type": "text"}},
        }),
        "/v1/messages" => json!({
            "max_tokens": 5, "messages": turns, "tools": [tool], "tool_choice": {"type": "auto"},
            "thinking": {"type": "disabled"}, "output_config": {},
        }),
        "/v1/messages/count_tokens" => json!({
            "messages": turns, "tools": [tool], "tool_choice": {"type": "auto"},
        }),
        other => panic!("{other} takes a request; write one for it here"),
    }
}

/// Adds a null for every optional field that the value lacks, at any depth; returns how many.
fn add_nulls(document: &Value, schema: &Value, value: &mut Value) -> usize {
    if let Some(pointer) = schema["$ref"].as_str() {
        let named = document.pointer(pointer.trim_start_matches('#'));
        return add_nulls(document, named.expect("a schema"), value);
    }
    let choices = ["oneOf", "anyOf", "allOf"].into_iter();
    let choices = choices.filter_map(|of| schema[of].as_array()).flatten();
    let mut added = choices
        .map(|choice| add_nulls(document, choice, value))
        .sum();
    match value {
        Value::Array(items) => {
            for item in items {
                added += add_nulls(document, &schema["items"], item);
            }
        }
        Value::Object(fields) => added += add_fields(document, schema, fields),
        _ => {}
    }
    added
}

fn add_fields(document: &Value, schema: &Value, fields: &mut Map<String, Value>) -> usize {
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    // Of a choice among objects, those that this one is not.
    if !required.iter().all(|&name| fields.contains_key(name)) {
        return 0;
    }
    let mut added = 0;
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        match fields.get_mut(name) {
            Some(value) => added += add_nulls(document, schema, value),
            None => {
                fields.insert(name.clone(), Value::Null);
                added += 1;
            }
        }
    }
    added
}

/// What a reply says, without what differs from one to the next.
fn said(reply: &Reply) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for name in ["id", "created", "created_at", "completed_at"] {
                    fields.remove(name);
                }
                fields.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut said =
        serde_json::from_str(&reply.body).unwrap_or_else(|_| Value::from(reply.body.as_str()));
    strip(&mut said);
    said
}

#[tokio::test]
async fn null_equals_absent_in_every_optional_field_of_every_request() {
    let server = TestServer::saying(Script::of("ab").then(EOS)).await;
    let document = server.get("/openapi.json").await.json();
    let mut added = 0;
    for (path, methods) in document["paths"].as_object().expect("an object") {
        let schema = &methods["post"]["requestBody"]["content"]["application/json"]["schema"];
        if schema.is_null() {
            continue;
        }
        let body = sample(path);
        let mut with_nulls = body.clone();
        let nulls = add_nulls(&document, schema, &mut with_nulls);
        assert!(nulls > 0, "{path} has optional fields");
        added += nulls;
        let absent = server.post(path, body).await;
        assert_eq!(absent.status, 200, "{path}: {}", absent.body);
        let null = server.post(path, with_nulls.clone()).await;
        assert_eq!(null.status, 200, "{path} {with_nulls}: {}", null.body);
        assert_eq!(said(&null), said(&absent), "{path} {with_nulls}");
    }
    assert!(added > 300, "{added} nulls");
}
