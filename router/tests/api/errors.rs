//! Every way to be refused: a JSON body that says why, in the family's own form.

use serde_json::{Value, json};

use crate::fixture::EOS;
use crate::support::{Script, TestServer};

const NATIVE: [&str; 3] = ["/generate", "/generate_stream", "/"];
const V1: [&str; 2] = ["/v1/chat/completions", "/v1/completions"];

async fn server() -> TestServer {
    TestServer::saying(Script::of("a").then(EOS)).await
}

#[tokio::test]
async fn broken_rules_are_refused_before_any_stream_begins() {
    let server = server().await;
    for path in NATIVE {
        let body = json!({"inputs": "x", "parameters": {"temperature": 0.0}, "stream": true});
        let reply = server.post(path, body).await;
        assert_eq!(reply.status, 422, "{path}");
        assert_eq!(reply.json()["error_type"], "validation", "{path}");
        assert!(
            reply.body.contains("temperature must be above 0, got 0"),
            "{}",
            reply.body
        );
    }
    for path in V1 {
        let messages = json!([{"role": "user", "content": "x"}]);
        let body = json!({"prompt": "x", "messages": messages, "temperature": -1, "stream": true});
        let reply = server.post(path, body).await;
        assert_eq!(reply.status, 400, "{path}");
        let error = &reply.json()["error"];
        assert_eq!(error["param"], "temperature", "{path}");
        assert_eq!(error["type"], "invalid_request_error", "{path}");
        assert_eq!(error["code"], "validation", "{path}");
        let message = "temperature must be from 0 to 2, got -1";
        assert_eq!(error["message"], message, "{path}");
    }
}

#[tokio::test]
async fn what_does_not_fit_names_both_numbers_and_the_limit() {
    let server = server().await;
    let parameters = json!({"max_new_tokens": 100_000});
    let reply = server
        .post(
            "/generate",
            json!({"inputs": "xyz", "parameters": parameters}),
        )
        .await;
    assert_eq!(reply.status, 422);
    let error = reply.json()["error"]
        .as_str()
        .expect("a message")
        .to_owned();
    assert!(error.contains("4 + 100000"), "{error}");
    let long = "x".repeat(100_000);
    let reply = server.post("/generate", json!({"inputs": long})).await;
    assert_eq!(reply.status, 422);
    assert!(
        reply.body.contains("the prompt has 100001 tokens"),
        "{}",
        reply.body
    );
}

#[tokio::test]
async fn empty_prompts_are_refused() {
    let server = server().await;
    for (path, body, status) in [
        ("/generate", json!({"inputs": ""}), 422),
        ("/v1/completions", json!({"prompt": ""}), 400),
        ("/v1/completions", json!({"prompt": []}), 400),
        ("/v1/chat/completions", json!({"messages": []}), 400),
    ] {
        let reply = server.post(path, body.clone()).await;
        assert_eq!(reply.status, status, "{path} {body}");
    }
}

#[tokio::test]
async fn wrong_types_name_the_field() {
    let server = server().await;
    let reply = server
        .post(
            "/generate",
            json!({"inputs": "x", "parameters": {"top_k": "5"}}),
        )
        .await;
    assert_eq!(reply.status, 422);
    assert!(reply.body.contains("parameters.top_k"), "{}", reply.body);
    let reply = server
        .post("/v1/chat/completions", json!({"messages": "x"}))
        .await;
    assert_eq!(reply.status, 400);
    assert_eq!(reply.json()["error"]["param"], "messages");
}

#[tokio::test]
async fn bodies_that_are_no_json_are_refused() {
    let server = server().await;
    for path in NATIVE {
        let reply = server
            .post_as(path, "application/json", "{\"inputs\":")
            .await;
        assert_eq!(reply.status, 400, "{path}");
        assert!(reply.json()["error"].is_string(), "{path}");
        let reply = server
            .post_as(path, "text/plain", "{\"inputs\": \"x\"}")
            .await;
        assert_eq!(reply.status, 415, "{path}");
        assert!(reply.json()["error"].is_string(), "{path}");
    }
    for path in V1 {
        let reply = server.post_as(path, "application/json", "[").await;
        assert_eq!(reply.status, 400, "{path}");
        assert!(reply.json()["error"]["message"].is_string(), "{path}");
    }
}

#[tokio::test]
async fn bodies_too_large_are_refused() {
    let server = server().await;
    let body = json!({"inputs": "x".repeat(5 * 1024 * 1024)});
    let reply = server.post("/generate", body).await;
    assert_eq!(reply.status, 413);
    assert!(reply.json()["error"].is_string());
}

#[tokio::test]
async fn unknown_routes_and_methods_are_refused() {
    let server = server().await;
    let reply = server.get("/nothing").await;
    assert_eq!(
        (reply.status, reply.json()["error"].is_string()),
        (404, true)
    );
    let reply = server.get("/v1/nothing").await;
    assert_eq!(
        (reply.status, reply.json()["error"]["message"].is_string()),
        (404, true)
    );
    let reply = server.get("/generate").await;
    assert_eq!(
        (reply.status, reply.json()["error"].is_string()),
        (405, true)
    );
}

#[tokio::test]
async fn facts_and_documents_are_served() {
    let server = server().await;
    let info = server.get("/info").await.json();
    assert_eq!(info["max_best_of"], 2);
    assert_eq!(info["max_total_tokens"], 4096);
    assert_eq!(info["router"], "text-generation-router");
    let openapi = server.get("/openapi.json").await.json();
    for path in ["/generate", "/v1/chat/completions"] {
        assert!(openapi["paths"][path]["post"].is_object(), "{path}");
    }
    let page = server.get("/docs/").await;
    assert_eq!(page.status, 200);
    assert!(page.body.contains("swagger"), "{}", page.body);
    assert_eq!(server.get("/health").await.body, "");
}

#[tokio::test]
async fn a_failed_generation_says_so_in_the_familys_form() {
    let server = TestServer::saying(Script::of("ab").failing("out of pages")).await;
    let reply = server.post("/generate", json!({"inputs": "x"})).await;
    assert_eq!(reply.status, 424);
    assert_eq!(reply.json()["error_type"], "generation");
    assert!(reply.body.contains("out of pages"), "{}", reply.body);
    let events = server
        .stream("/generate_stream", json!({"inputs": "x"}))
        .await;
    assert_eq!(events.len(), 3);
    assert_eq!(events[2]["error_type"], "generation");
    let messages = json!([{"role": "user", "content": "x"}]);
    let body = json!({"messages": messages});
    let reply = server.post("/v1/chat/completions", body).await;
    assert_eq!(reply.status, 500);
    assert_eq!(reply.json()["error"]["type"], "server_error");
    let body = json!({"messages": messages, "stream": true});
    let chunks = server.stream("/v1/chat/completions", body).await;
    let last = chunks.last().expect("a chunk");
    assert!(
        last["error"]["message"]
            .as_str()
            .is_some_and(|m| m.contains("out of pages")),
        "{last}"
    );
    assert_ne!(last["error"]["type"], Value::Null);
}

#[tokio::test]
async fn a_template_that_refuses_the_messages_says_why() {
    let server = server().await;
    let body = json!({"messages": [{"role": "martian", "content": "x"}]});
    let reply = server.post("/v1/chat/completions", body).await;
    assert_eq!(reply.status, 400);
    assert!(
        reply.body.contains("unknown role martian"),
        "{}",
        reply.body
    );
    let parts = json!([{"type": "image_url", "image_url": {"url": "x"}}]);
    let body = json!({"messages": [{"role": "user", "content": parts}]});
    let reply = server.post("/v1/chat/completions", body).await;
    assert_eq!(reply.status, 400);
    assert!(reply.body.contains("image_url"), "{}", reply.body);
}

#[tokio::test]
async fn every_error_of_a_generation_is_described_in_its_familys_form() {
    let openapi = server().await.get("/openapi.json").await.json();
    for (path, form, of_a_rule) in [
        ("/generate", "NativeError", "422"),
        ("/generate_stream", "NativeError", "422"),
        ("/v1/chat/completions", "OpenAiError", "400"),
        ("/v1/messages", "AnthropicError", "400"),
    ] {
        let responses = &openapi["paths"][path]["post"]["responses"];
        for status in [
            of_a_rule, "400", "401", "404", "413", "415", "429", "500", "503",
        ] {
            let schema = &responses[status]["content"]["application/json"]["schema"]["$ref"];
            assert_eq!(
                schema,
                &format!("#/components/schemas/{form}"),
                "{path} {status}"
            );
        }
        let other = if of_a_rule == "400" { "422" } else { "200" };
        assert_eq!(responses[other].is_object(), other == "200", "{path}");
        assert!(responses["default"].is_null(), "{path}");
    }
}

#[tokio::test]
async fn a_name_that_is_no_text_is_not_found() {
    let server = server().await;
    for path in ["/v1/models/%FF", "/v1/responses/%FF"] {
        let reply = server.get(path).await;
        let error = &reply.json()["error"]["type"];
        assert_eq!(
            (reply.status, error),
            (404, &json!("invalid_request_error"))
        );
    }
}
