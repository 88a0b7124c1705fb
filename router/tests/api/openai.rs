//! `/v1/chat/completions`, `/v1/models`.

use serde_json::{Value, json};

use crate::fixture::EOS;
use crate::support::{MODEL, Script, TestServer, bytes};

fn hello() -> Value {
    json!({"messages": [{"role": "user", "content": "Hi"}], "temperature": 0})
}

fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

#[tokio::test]
async fn chat_answers_with_a_message_and_usage() {
    let server = TestServer::saying(Script::of("Hello").then(EOS).cached(2)).await;
    let reply = server.post("/v1/chat/completions", hello()).await;
    let mut answer = reply.json();
    assert_eq!(
        server.asked().tokens,
        bytes("user: Hi\nassistant: "),
        "no token is added"
    );
    assert!(
        answer["id"]
            .as_str()
            .is_some_and(|id| id.starts_with("chatcmpl-")),
        "{answer}"
    );
    assert!(
        answer["created"]
            .as_u64()
            .is_some_and(|seconds| seconds > 1_700_000_000)
    );
    assert!(
        answer["system_fingerprint"]
            .as_str()
            .is_some_and(|text| !text.is_empty())
    );
    for field in ["id", "created", "system_fingerprint"] {
        answer.as_object_mut().expect("an object").remove(field);
    }
    let usage = json!({"prompt_tokens": 20, "completion_tokens": 6, "total_tokens": 26,
                       "prompt_tokens_details": {"cached_tokens": 2}});
    let choice = json!({"index": 0, "message": {"role": "assistant", "content": "Hello"},
                        "logprobs": null, "finish_reason": "stop"});
    let expected =
        json!({"object": "chat.completion", "model": MODEL, "choices": [choice], "usage": usage});
    assert_eq!(answer, expected);
    assert_eq!(reply.header("x-prompt-tokens"), "20");
}

#[tokio::test]
async fn chat_streams_role_text_reason_usage_and_done() {
    let server = TestServer::saying(Script::of("Hé").then(EOS)).await;
    let body = with(hello(), "stream", json!(true));
    let body = with(body, "stream_options", json!({"include_usage": true}));
    let chunks = server.stream("/v1/chat/completions", body).await;
    let (last, chunks) = chunks.split_last().expect("chunks");
    assert_eq!(last, "[DONE]");
    let (usage, chunks) = chunks.split_last().expect("chunks");
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(usage["usage"]["completion_tokens"], 4);
    let deltas: Vec<_> = chunks
        .iter()
        .map(|chunk| chunk["choices"][0]["delta"].clone())
        .collect();
    let expected = [
        json!({"role": "assistant", "content": "", "tool_calls": null}),
        json!({"role": "", "content": "H", "tool_calls": null}),
        json!({"role": "", "content": "é", "tool_calls": null}),
        json!({"role": "", "content": null, "tool_calls": null}),
    ];
    assert_eq!(deltas, expected);
    let reasons: Vec<_> = chunks
        .iter()
        .map(|chunk| &chunk["choices"][0]["finish_reason"])
        .collect();
    assert_eq!(
        reasons,
        [&Value::Null, &Value::Null, &Value::Null, &json!("stop")]
    );
    for chunk in chunks {
        assert_eq!(chunk["id"], usage["id"]);
        assert_eq!(chunk["object"], "chat.completion.chunk");
        assert_eq!(chunk["model"], MODEL);
        assert_eq!(chunk["usage"], Value::Null);
    }
}

#[tokio::test]
async fn usage_is_streamed_only_when_asked_for() {
    let server = TestServer::saying(Script::of("a").then(EOS)).await;
    let body = with(hello(), "stream", json!(true));
    let chunks = server.stream(
        "/v1/chat/completions",
        with(body, "stream_options", Value::Null),
    );
    let chunks = chunks.await;
    assert!(
        chunks.iter().all(|chunk| chunk["usage"] == Value::Null),
        "{chunks:?}"
    );
}

#[tokio::test]
async fn a_stop_string_is_left_out_and_never_leaks() {
    let server = TestServer::saying(Script::of("one END two").then(EOS)).await;
    let body = with(hello(), "stop", json!("END"));
    let answer = server
        .post("/v1/chat/completions", body.clone())
        .await
        .json();
    assert_eq!(answer["choices"][0]["message"]["content"], "one ");
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert_eq!(answer["usage"]["completion_tokens"], 7);
    let chunks = server
        .stream("/v1/chat/completions", with(body, "stream", json!(true)))
        .await;
    let text: String = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(text, "one ");
}

#[tokio::test]
async fn text_held_for_a_stop_string_comes_out_at_the_end() {
    let server = TestServer::saying(Script::of("one EN").then(EOS)).await;
    let body = with(with(hello(), "stop", json!(["END"])), "stream", json!(true));
    let chunks = server.stream("/v1/chat/completions", body).await;
    let text: String = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(text, "one EN");
}

#[tokio::test]
async fn chat_draws_n_answers() {
    let server = TestServer::start(|asked| Script::of(&format!("{}", asked.seed)).then(EOS)).await;
    let body = json!({"messages": [{"role": "user", "content": "Hi"}], "n": 2, "seed": 5});
    let answer = server
        .post("/v1/chat/completions", body.clone())
        .await
        .json();
    assert_eq!(answer["choices"][0]["message"]["content"], "5");
    assert_eq!(answer["choices"][1]["message"]["content"], "6");
    assert_eq!(
        answer["usage"]["prompt_tokens"], 20,
        "the prompt counts once"
    );
    assert_eq!(answer["usage"]["completion_tokens"], 4);
    let chunks = server
        .stream("/v1/chat/completions", with(body, "stream", json!(true)))
        .await;
    for (index, text) in [(0, "5"), (1, "6")] {
        let of_choice = chunks
            .iter()
            .map(|chunk| &chunk["choices"][0])
            .filter(|c| c["index"] == index);
        let joined: String = of_choice
            .filter_map(|c| c["delta"]["content"].as_str())
            .collect();
        assert_eq!(joined, text);
    }
}

#[tokio::test]
async fn chat_tells_log_probabilities() {
    let server = TestServer::saying(Script::tokens(vec![258]).then(EOS)).await;
    let body = with(
        with(hello(), "logprobs", json!(true)),
        "top_logprobs",
        json!(2),
    );
    let answer = server
        .post("/v1/chat/completions", body.clone())
        .await
        .json();
    let content = &answer["choices"][0]["logprobs"]["content"];
    assert_eq!(content[0]["token"], "hello");
    assert_eq!(content[0]["logprob"], -0.5);
    assert_eq!(content[0]["bytes"], json!(b"hello"));
    assert_eq!(content[0]["top_logprobs"].as_array().map(Vec::len), Some(2));
    assert_eq!(content[0]["top_logprobs"][0]["token"], "hello");
    let chunks = server
        .stream("/v1/chat/completions", with(body, "stream", json!(true)))
        .await;
    assert_eq!(
        &chunks[1]["choices"][0]["logprobs"]["content"][0],
        &content[0]
    );
}

#[tokio::test]
async fn chat_continues_the_assistants_last_message() {
    let server = TestServer::saying(Script::of("a").then(EOS)).await;
    let messages = json!([{"role": "user", "content": [{"type": "text", "text": "Hi"}]},
                          {"role": "assistant", "content": "Well, "}]);
    server
        .post("/v1/chat/completions", json!({"messages": messages}))
        .await;
    assert_eq!(server.asked().tokens, bytes("user: Hi\nassistant: Well,"));
}

#[tokio::test]
async fn a_prompt_ends_as_the_client_says() {
    let server = TestServer::saying(Script::of("a").then(EOS)).await;
    let messages = json!([{"role": "user", "content": "Hi"},
                          {"role": "assistant", "content": "Well"}]);
    let begun = "user: Hi\nassistant: Well\nassistant: ";
    for (go_on, begin, expected) in [
        (json!(null), json!(null), "user: Hi\nassistant: Well"),
        (json!(true), json!(null), "user: Hi\nassistant: Well"),
        (json!(true), json!(false), "user: Hi\nassistant: Well"),
        (json!(false), json!(null), begun),
        (json!(false), json!(true), begun),
        (json!(null), json!(true), begun),
        (json!(null), json!(false), "user: Hi\nassistant: Well\n"),
        (json!(false), json!(false), "user: Hi\nassistant: Well\n"),
    ] {
        let body = json!({"messages": messages, "continue_final_message": go_on,
                          "add_generation_prompt": begin});
        let reply = server.post("/v1/chat/completions", body.clone()).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        assert_eq!(server.asked().tokens, bytes(expected), "{body}");
        let shown = server.post("/chat_tokenize", body).await.json();
        assert_eq!(shown["templated_text"], expected);
    }
    // Whose the last message is does not matter, as long as it says something.
    let body = with(hello(), "continue_final_message", json!(true));
    server.post("/v1/chat/completions", body.clone()).await;
    assert_eq!(server.asked().tokens, bytes("user: Hi"));
    for (field, value) in [
        ("add_generation_prompt", json!(true)),
        ("messages", json!([{"role": "user", "content": " "}])),
    ] {
        let body = with(body.clone(), field, value);
        let reply = server.post("/v1/chat/completions", body).await;
        assert_eq!(reply.status, 400, "{field}");
        assert_eq!(reply.json()["error"]["param"], "continue_final_message");
    }
}

#[tokio::test]
async fn the_template_is_told_what_the_client_says() {
    let server = TestServer::saying(Script::of("a").then(EOS)).await;
    let body = |variables: Value| with(hello(), "chat_template_kwargs", variables);
    for (variables, expected) in [
        (
            json!({"tone": "kind", "unused": [1, {"a": null}]}),
            "(kind) user: Hi\nassistant: ",
        ),
        (json!({}), "user: Hi\nassistant: "),
        (json!(null), "user: Hi\nassistant: "),
    ] {
        server.post("/v1/chat/completions", body(variables)).await;
        assert_eq!(server.asked().tokens, bytes(expected));
    }
    for own in ["messages", "tools", "add_generation_prompt", "bos_token"] {
        let reply = server
            .post("/v1/chat/completions", body(json!({own: "x"})))
            .await;
        assert_eq!(reply.status, 400, "{own}");
        let error = &reply.json()["error"];
        assert_eq!(error["param"], "chat_template_kwargs");
        assert!(
            error["message"]
                .as_str()
                .is_some_and(|text| text.contains(own))
        );
    }
    let endless = json!({"tone": "x".repeat(3_000_000)});
    let large = server.post("/v1/chat/completions", body(endless)).await;
    assert_eq!(
        large.status, 400,
        "it fits neither the template's work nor the context"
    );
}

#[tokio::test]
async fn what_chat_cannot_do_is_refused_by_name() {
    let server = TestServer::saying(Script::of("a").then(EOS)).await;
    let function = json!({"name": "f", "arguments": "{}"});
    let called = json!([{"role": "assistant", "content": null, "function_call": function}]);
    for (field, value, says) in [
        ("functions", json!([{"name": "f"}]), "send tools"),
        ("function_call", json!("auto"), "send tool_choice"),
        ("messages", called, "send tool_calls"),
        ("modalities", json!(["text", "audio"]), "not supported"),
        ("audio", json!({"voice": "x"}), "not supported"),
        ("web_search_options", json!({}), "not supported"),
        ("reasoning_effort", json!("low"), "not supported"),
        ("verbosity", json!("low"), "not supported"),
        ("store", json!(true), "not supported"),
        ("chat_template", json!("{{ messages }}"), "not supported"),
    ] {
        let reply = server
            .post("/v1/chat/completions", with(hello(), field, value))
            .await;
        assert_eq!(reply.status, 400, "{field}: {}", reply.body);
        let error = &reply.json()["error"];
        assert_eq!(error["param"], field);
        let message = error["message"].as_str().expect("a text");
        assert!(message.contains(says), "{message}");
    }
    let harmless = json!({"modalities": ["text"], "reasoning_effort": "none", "store": false,
                          "verbosity": "medium", "messages": hello()["messages"]});
    assert_eq!(
        server.post("/v1/chat/completions", harmless).await.status,
        200
    );
}

#[tokio::test]
async fn embeddings_are_refused_in_words() {
    let server = TestServer::saying(Script::of("a").then(EOS)).await;
    let reply = server
        .post("/v1/embeddings", json!({"input": "x", "model": "x"}))
        .await;
    assert_eq!(reply.status, 404);
    let message = "embeddings are not served: the models here generate text";
    let error = json!({"message": message, "type": "invalid_request_error", "param": null,
                       "code": "not_served"});
    assert_eq!(reply.json(), json!({"error": error}));
}

#[tokio::test]
async fn chat_tokenize_shows_what_the_model_sees() {
    let server = TestServer::saying(Script::of("")).await;
    let answer = server.post("/chat_tokenize", hello()).await.json();
    assert_eq!(answer["templated_text"], "user: Hi\nassistant: ");
    assert_eq!(
        answer["tokenize_response"].as_array().map(Vec::len),
        Some(20)
    );
    assert_eq!(answer["tokenize_response"][0]["text"], "u");
}

#[tokio::test]
async fn the_model_is_listed_and_known_by_several_names() {
    let server = TestServer::saying(Script::of("a").then(EOS)).await;
    let list = server.get("/v1/models").await.json();
    assert_eq!(list["object"], "list");
    assert_eq!(list["data"][0]["id"], MODEL);
    assert_eq!(list["data"][0]["object"], "model");
    for name in [MODEL, "tgi"] {
        let path = format!("/v1/models/{}", name.replace('/', "%2F"));
        assert_eq!(server.get(&path).await.json(), list["data"][0], "{path}");
    }
    let unknown = server.get("/v1/models/gpt-4").await;
    assert_eq!(unknown.status, 404);
    assert_eq!(unknown.json()["error"]["code"], "model_not_found");
    let base_name = MODEL.rsplit('/').next().expect("a name");
    for name in [MODEL, base_name, "tgi", "dummy", ""] {
        let reply = server
            .post("/v1/chat/completions", with(hello(), "model", json!(name)))
            .await;
        assert_eq!(reply.status, 200, "{name}: {}", reply.body);
        assert_eq!(reply.json()["model"], MODEL);
    }
    let reply = server
        .post("/v1/completions", json!({"prompt": "x", "model": "gpt-4"}))
        .await;
    assert_eq!(reply.status, 404);
    assert_eq!(reply.json()["error"]["code"], "model_not_found");
}
