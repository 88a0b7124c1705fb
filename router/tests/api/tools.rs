//! Tools on `/v1/chat/completions`.

use serde_json::{Value, json};

use crate::fixture::EOS;
use crate::support::{Script, TestServer, bytes};

const PATH: &str = "/v1/chat/completions";

/// Words, then two calls, in the form that is asked for where a template knows no tools.
fn calling() -> Script {
    let call = |name: &str, arguments: &str| {
        format!("<tool_call>\n{{\"name\": \"{name}\", \"arguments\": {arguments}}}\n</tool_call>\n")
    };
    Script::of(&format!(
        "So: {}{}",
        call("f", "{\"a\": 1}"),
        call("g", "{}")
    ))
    .then(EOS)
}

fn asking() -> Value {
    let tool = |name: &str| {
        let function = json!({"name": name, "parameters": {"type": "object"}});
        json!({"type": "function", "function": function})
    };
    json!({"messages": [{"role": "user", "content": "Hi"}], "tools": [tool("f"), tool("g")]})
}

fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

#[tokio::test]
async fn calls_are_told_apart_from_words() {
    let server = TestServer::saying(calling()).await;
    let answer = server.post(PATH, asking()).await.json();
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    let message = &choice["message"];
    assert_eq!(message["content"], "So:");
    let calls = message["tool_calls"].as_array().expect("a list");
    let called: Vec<_> = calls
        .iter()
        .map(|call| (&call["type"], &call["function"]))
        .collect();
    let f = json!({"name": "f", "arguments": "{\"a\": 1}"});
    let g = json!({"name": "g", "arguments": "{}"});
    assert_eq!(called, [(&json!("function"), &f), (&json!("function"), &g)]);
    assert_ne!(calls[0]["id"], calls[1]["id"]);
    // Sent back, with the results.
    let result = |call: &Value, text: &str| json!({"role": "tool", "tool_call_id": call["id"], "content": text});
    let messages = json!([
        {"role": "user", "content": "Hi"}, message, result(&calls[0], "1"), result(&calls[1], "2"),
    ]);
    server.post(PATH, json!({"messages": messages})).await;
    let turn = "user: Hi\nassistant: So:\n\
        <tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>\n\
        <tool_call>\n{\"name\": \"g\", \"arguments\": {}}\n</tool_call>\n\
        user: <tool_response>\n1\n</tool_response>\n<tool_response>\n2\n</tool_response>\nassistant: ";
    assert_eq!(server.asked().tokens, bytes(turn));
}

#[tokio::test]
async fn arguments_are_streamed_as_they_come() {
    let server = TestServer::saying(calling()).await;
    let chunks = server
        .stream(PATH, with(asking(), "stream", json!(true)))
        .await;
    let choices = || chunks.iter().filter_map(|chunk| chunk["choices"].get(0));
    let words: String = choices()
        .filter_map(|choice| choice["delta"]["content"].as_str())
        .collect();
    assert_eq!(words, "So:");
    let mut calls: Vec<(Value, String)> = Vec::new();
    let mut pieces = 0;
    for delta in choices().filter_map(|choice| choice["delta"]["tool_calls"].get(0)) {
        let function = &delta["function"];
        if delta["id"].is_string() {
            assert_eq!(delta["type"], "function");
            calls.push((function["name"].clone(), String::new()));
        }
        assert_eq!(delta["index"], calls.len() - 1);
        let arguments = function["arguments"].as_str().expect("a text");
        pieces += usize::from(!arguments.is_empty());
        calls
            .last_mut()
            .expect("a call began")
            .1
            .push_str(arguments);
    }
    assert_eq!(
        calls,
        [
            (json!("f"), "{\"a\": 1}".to_owned()),
            (json!("g"), "{}".to_owned())
        ]
    );
    assert!(pieces > 2, "{pieces}");
    let reasons: Vec<_> = choices()
        .filter_map(|choice| choice["finish_reason"].as_str())
        .collect();
    assert_eq!(reasons, ["tool_calls"]);
}

#[tokio::test]
async fn calls_alone_have_no_text() {
    let call = "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>";
    let server = TestServer::saying(Script::of(call).then(EOS)).await;
    let message = server.post(PATH, asking()).await.json()["choices"][0]["message"].clone();
    assert_eq!(message["content"], Value::Null);
    assert_eq!(message["tool_calls"].as_array().map(Vec::len), Some(1));
    let chunks = server
        .stream(PATH, with(asking(), "stream", json!(true)))
        .await;
    let first = json!({"role": "assistant", "content": null, "tool_calls": null});
    assert_eq!(chunks[0]["choices"][0]["delta"], first);
    let texts = chunks
        .iter()
        .map(|chunk| &chunk["choices"][0]["delta"]["content"]);
    assert!(texts.clone().all(Value::is_null), "{chunks:?}");
}

#[tokio::test]
async fn without_tools_nothing_is_a_call() {
    let server = TestServer::saying(calling()).await;
    for body in [
        with(asking(), "tool_choice", json!("none")),
        with(asking(), "tools", Value::Null),
        with(asking(), "tools", json!([])),
    ] {
        let answer = server.post(PATH, body).await.json();
        assert_eq!(server.asked().tokens, bytes("user: Hi\nassistant: "));
        assert_eq!(answer["choices"][0]["finish_reason"], "stop");
        let message = &answer["choices"][0]["message"];
        assert!(
            message["content"]
                .as_str()
                .is_some_and(|text| text.contains("<tool_call>"))
        );
        assert_eq!(message.get("tool_calls"), None);
    }
}

#[tokio::test]
async fn a_choice_that_cannot_be_made_is_refused() {
    let server = TestServer::saying(calling()).await;
    let named = json!({"type": "function", "function": {"name": "h"}});
    for (body, field, says) in [
        (
            with(asking(), "tool_choice", named),
            "tool_choice",
            "\"h\", which is none of the tools",
        ),
        (
            with(
                with(asking(), "tools", json!([])),
                "tool_choice",
                json!("required"),
            ),
            "tool_choice",
            "there are no tools",
        ),
        (
            with(asking(), "tools", json!([{"type": "function"}])),
            "tools",
            "a function with a name",
        ),
    ] {
        let reply = server.post(PATH, body).await;
        assert_eq!(reply.status, 400, "{}", reply.body);
        let error = &reply.json()["error"];
        assert_eq!(error["param"], field);
        assert!(
            error["message"].as_str().expect("a text").contains(says),
            "{error}"
        );
    }
}
