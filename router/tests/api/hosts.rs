//! `/invocations`, `/vertex`: the routes of Amazon SageMaker and Google Vertex AI.

use serde_json::{Value, json};

use crate::fixture::EOS;
use crate::support::{Script, TestServer};

/// Answers with the prompt's last byte, twice.
async fn server() -> TestServer {
    TestServer::start(|asked| {
        let last = *asked.tokens.last().expect("a prompt");
        Script::tokens(vec![last, last]).then(EOS)
    })
    .await
}

fn messages() -> Value {
    json!([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Well"}])
}

#[tokio::test]
async fn an_invocation_is_answered_by_the_route_of_its_kind() {
    let server = server().await;
    for (path, body, text) in [
        ("/", json!({"inputs": "a"}), "/0/generated_text"),
        (
            "/v1/chat/completions",
            json!({"messages": messages()}),
            "/choices/0/message/content",
        ),
        ("/v1/completions", json!({"prompt": "a"}), "/choices/0/text"),
    ] {
        let own = server.post(path, body.clone()).await.json();
        let reply = server.post("/invocations", body.clone()).await;
        let answer = reply.json();
        assert!(
            answer.pointer(text).is_some_and(Value::is_string),
            "{answer}"
        );
        assert_eq!(answer.pointer(text), own.pointer(text));
        assert_eq!(reply.header("x-generated-tokens"), "3");
        let mut streamed = body;
        streamed["stream"] = json!(true);
        let own = server.stream(path, streamed.clone()).await;
        let events = server.stream("/invocations", streamed).await;
        assert_eq!(events.len(), own.len(), "{path}");
    }
}

#[tokio::test]
async fn what_is_no_invocation_is_refused_in_the_native_form() {
    let server = server().await;
    for (body, says) in [
        (json!({}), "needs inputs, messages or prompt"),
        (json!({"inputs": 5}), "inputs"),
        (
            json!({"inputs": "x", "parameters": {"top_k": "5"}}),
            "parameters.top_k",
        ),
        (
            json!({"inputs": "x", "parameters": {"top_k": 0}}),
            "top_k must be at least 1",
        ),
        (json!({"messages": []}), "messages must have 1 to"),
        (
            json!({"prompt": "x", "temperature": 3}),
            "temperature must be from 0 to 2",
        ),
    ] {
        let reply = server.post("/invocations", body).await;
        assert_eq!(reply.status, 422, "{}", reply.body);
        assert_eq!(reply.json()["error_type"], "validation");
        let error = reply.json()["error"].as_str().expect("a text").to_owned();
        assert!(error.contains(says), "{error}");
    }
}

#[tokio::test]
async fn vertex_answers_each_instance_with_its_text() {
    let server = server().await;
    let instances = json!([
        {"inputs": "a"},
        {"inputs": "b", "parameters": {"max_new_tokens": 1, "return_full_text": true}},
        {"messages": messages(), "max_tokens": 1},
    ]);
    let reply = server
        .post("/vertex", json!({"instances": instances}))
        .await;
    assert_eq!(reply.json(), json!({"predictions": ["aa", "bb", "l"]}));
}

#[tokio::test]
async fn vertex_refuses_what_is_not_one_text() {
    let server = server().await;
    let one = json!({"inputs": "a"});
    for (instances, says) in [
        (json!([]), "instances must have 1 to 4 entries, got 0"),
        (json!([one, one, one, one, one]), "entries, got 5"),
        (
            json!([{"inputs": "a", "stream": true}]),
            "stream must be false",
        ),
        (json!([{"messages": messages(), "n": 2}]), "n must be 1"),
        (json!([{"prompt": "a"}]), "need inputs or messages"),
        (json!([one, {"inputs": ""}]), "inputs is empty"),
    ] {
        let reply = server
            .post("/vertex", json!({"instances": instances}))
            .await;
        assert_eq!(reply.status, 422, "{}", reply.body);
        assert!(reply.body.contains(says), "{}", reply.body);
    }
}
