//! `/v1/responses`.

use serde_json::{Value, json};

use crate::fixture::EOS;
use crate::support::{MODEL, Script, TestServer, bytes};
use crate::typed::{events, types};

const PATH: &str = "/v1/responses";

async fn saying(text: &str) -> TestServer {
    TestServer::saying(Script::of(text).then(EOS).cached(2)).await
}

async fn created(server: &TestServer, body: Value) -> Value {
    let reply = server.post(PATH, body).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply.json()
}

fn id(response: &Value) -> &str {
    response["id"].as_str().expect("an id")
}

/// Without what differs from request to request.
fn stable(mut response: Value) -> Value {
    for field in ["id", "created_at", "completed_at"] {
        response.as_object_mut().expect("an object").remove(field);
    }
    for item in response["output"].as_array_mut().expect("a list") {
        item.as_object_mut().expect("an object").remove("id");
    }
    response
}

#[tokio::test]
async fn a_text_is_answered_with_a_message_and_usage() {
    let server = saying("Hello").await;
    let response = created(
        &server,
        json!({"input": "Hi", "temperature": 0, "metadata": {"a": "b"}}),
    )
    .await;
    assert_eq!(server.asked().tokens, bytes("user: Hi\nassistant: "));
    assert!(id(&response).starts_with("resp_"));
    let part = json!({"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []});
    let message =
        json!({"type": "message", "role": "assistant", "status": "completed", "content": [part]});
    let usage = json!({
        "input_tokens": 20, "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
        "output_tokens": 6, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 26,
    });
    let expected = json!({
        "object": "response", "status": "completed", "model": MODEL, "output": [message],
        "usage": usage, "error": null, "incomplete_details": null, "instructions": null,
        "max_output_tokens": null, "metadata": {"a": "b"}, "parallel_tool_calls": true,
        "previous_response_id": null, "store": true, "temperature": 0.0, "top_p": 1.0,
        "top_logprobs": 0,
        "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [],
        "truncation": "disabled", "background": false, "user": null,
    });
    assert_eq!(stable(response), expected);
}

#[tokio::test]
async fn a_stream_tells_the_same_in_order() {
    let server = saying("Hé").await;
    let body = json!({"input": "Hi", "temperature": 0});
    let whole = created(&server, body.clone()).await;
    let mut streamed = body;
    streamed["stream"] = json!(true);
    let events = events(&server, PATH, streamed).await;
    let expected = [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ];
    assert_eq!(types(&events), expected);
    let numbers = events.iter().map(|event| event["sequence_number"].as_u64());
    assert!(numbers.eq((0..).map(Some).take(events.len())));
    assert_eq!(events[0]["response"]["status"], "in_progress");
    assert_eq!(events[0]["response"]["usage"], Value::Null);
    assert_eq!(events[2]["item"]["content"], json!([]));
    let deltas: String = events
        .iter()
        .filter_map(|event| event["delta"].as_str())
        .collect();
    assert_eq!(deltas, "Hé");
    let last = &events.last().expect("events")["response"];
    assert_eq!(id(last), id(&events[0]["response"]));
    assert_eq!(stable(last.clone()), stable(whole));
}

#[tokio::test]
async fn a_cut_answer_is_incomplete() {
    let server = saying("Hello").await;
    let body = json!({"input": "Hi", "max_output_tokens": 2});
    let response = created(&server, body.clone()).await;
    assert_eq!(response["status"], "incomplete");
    assert_eq!(
        response["incomplete_details"]["reason"],
        "max_output_tokens"
    );
    assert_eq!(response["output"][0]["status"], "incomplete");
    assert_eq!(response["completed_at"], Value::Null);
    let mut streamed = body;
    streamed["stream"] = json!(true);
    let events = events(&server, PATH, streamed).await;
    assert_eq!(types(&events).last(), Some(&"response.incomplete"));
}

#[tokio::test]
async fn a_failure_in_a_stream_is_its_last_event() {
    let server = TestServer::saying(Script::of("He").failing("the step failed")).await;
    let events = events(&server, PATH, json!({"input": "Hi", "stream": true})).await;
    let last = events.last().expect("events");
    assert_eq!(last["type"], "response.failed");
    assert_eq!(last["sequence_number"], events.len() - 1);
    let response = &last["response"];
    assert_eq!(response["status"], "failed");
    let error = json!({"code": "server_error", "message": "the step failed"});
    assert_eq!(response["error"], error);
    assert_eq!(
        server.get(&format!("{PATH}/{}", id(response))).await.status,
        404
    );
}

#[tokio::test]
async fn a_chain_continues_the_whole_conversation() {
    let server = saying("Yes").await;
    let first = created(
        &server,
        json!({"input": "A?", "stream": null, "tools": null}),
    )
    .await;
    let next = |previous: &Value| json!({"input": "B?", "previous_response_id": id(previous)});
    let second = created(&server, next(&first)).await;
    let prompt = "user: A?\nassistant: Yes\nuser: B?\nassistant: ";
    assert_eq!(server.asked().tokens, bytes(prompt));
    assert_eq!(second["previous_response_id"], first["id"]);
    created(&server, next(&second)).await;
    let prompt = format!("{prompt}Yes\nuser: B?\nassistant: ");
    assert_eq!(server.asked().tokens, bytes(&prompt));
    // A branch from the middle, and one by sending everything again.
    created(&server, next(&first)).await;
    let asked = server.asked().tokens;
    let mut items = vec![json!({"role": "user", "content": "A?"})];
    items.extend(first["output"].as_array().expect("a list").clone());
    items.push(json!({"role": "user", "content": "B?"}));
    created(&server, json!({"input": items})).await;
    assert_eq!(server.asked().tokens, asked);
}

#[tokio::test]
async fn streamed_and_cut_responses_are_stored_too() {
    let server = saying("Yes").await;
    let body = json!({"input": "A?", "stream": true, "max_output_tokens": 2});
    let events = events(&server, PATH, body).await;
    let last = &events.last().expect("events")["response"];
    let fetched = server.get(&format!("{PATH}/{}", id(last))).await;
    assert_eq!(fetched.header("content-type"), "application/json");
    assert_eq!(&fetched.json(), last);
    created(
        &server,
        json!({"input": "B?", "previous_response_id": id(last)}),
    )
    .await;
    assert_eq!(
        server.asked().tokens,
        bytes("user: A?\nassistant: Ye\nuser: B?\nassistant: ")
    );
}

#[tokio::test]
async fn stored_responses_are_fetched_and_deleted_by_id() {
    let server = saying("Yes").await;
    let response = created(&server, json!({"input": "A?"})).await;
    let path = format!("{PATH}/{}", id(&response));
    assert_eq!(server.get(&path).await.json(), response);
    let deleted = server.delete(&path).await;
    assert_eq!(deleted.status, 200);
    let expected = json!({"id": response["id"], "object": "response", "deleted": true});
    assert_eq!(deleted.json(), expected);
    assert_eq!(
        server.get(&format!("{PATH}/%ff")).await.json()["error"]["code"],
        "response_not_found"
    );
    for reply in [
        server.get(&path).await,
        server.delete(&path).await,
        server
            .post(
                PATH,
                json!({"input": "B?", "previous_response_id": response["id"]}),
            )
            .await,
    ] {
        assert_eq!(reply.status, 404);
        let error = &reply.json()["error"];
        assert_eq!(error["code"], "response_not_found");
        assert!(
            error["message"]
                .as_str()
                .expect("a text")
                .contains(id(&response)),
            "{error}"
        );
    }
}

#[tokio::test]
async fn what_is_not_to_be_stored_is_not() {
    let server = saying("Yes").await;
    let response = created(&server, json!({"input": "A?", "store": false})).await;
    assert_eq!(response["store"], false);
    assert_eq!(
        server
            .get(&format!("{PATH}/{}", id(&response)))
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn instructions_hold_for_one_response() {
    let server = saying("Yes").await;
    let body = json!({"input": "A?", "instructions": "Be brief."});
    let reply = server.post(PATH, body).await;
    // The template of these tests knows no system.
    assert_eq!(reply.status, 400);
    assert!(reply.body.contains("unknown role system"), "{}", reply.body);
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_by_name() {
    let server = saying("Yes").await;
    for (field, value) in [
        ("background", json!(true)),
        ("truncation", json!("auto")),
        ("include", json!(["reasoning.encrypted_content"])),
        ("top_logprobs", json!(2)),
        ("top_logprobs", json!(21)),
        ("reasoning", json!({"effort": "low"})),
        ("prompt", json!({"id": "p"})),
        ("conversation", json!("conv_1")),
        ("temperature", json!(2.5)),
        ("top_p", json!(0)),
        ("max_output_tokens", json!(0)),
        ("input", json!([])),
        (
            "input",
            json!([{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]),
        ),
        ("text.format", json!({"type": "xml"})),
        ("text.format", json!({"type": "json_schema", "name": "x"})),
        ("text.verbosity", json!("low")),
        ("tools", json!([{"type": "web_search"}])),
        ("tool_choice", json!("sometimes")),
    ] {
        let mut body = json!({"input": "x", "stream": true});
        match field.strip_prefix("text.") {
            Some(member) => body["text"] = json!({member: value}),
            None => body[field] = value,
        }
        let reply = server.post(PATH, body).await;
        assert_eq!(reply.status, 400, "{field}: {}", reply.body);
        assert_eq!(reply.json()["error"]["param"], field);
    }
    let reply = server
        .post(PATH, json!({"input": "x", "model": "gpt-5"}))
        .await;
    assert_eq!(reply.status, 404);
    assert_eq!(reply.json()["error"]["code"], "model_not_found");
}

#[tokio::test]
async fn log_probabilities_go_with_their_text() {
    let server = saying("Hé").await;
    let body = json!({"input": "Hi", "include": ["message.output_text.logprobs"],
                      "top_logprobs": 1, "temperature": 0});
    let response = created(&server, body.clone()).await;
    assert_eq!(response["top_logprobs"], 1);
    let entry = |text: &str, top: &str| {
        let top = json!({"token": top, "logprob": -0.5, "bytes": top.as_bytes()});
        json!({"token": text, "logprob": -0.5, "bytes": text.as_bytes(), "top_logprobs": [top]})
    };
    let expected = json!([entry("H", "H"), entry("", "\u{FFFD}"), entry("é", "é")]);
    assert_eq!(response["output"][0]["content"][0]["logprobs"], expected);
    let mut streamed = body;
    streamed["stream"] = json!(true);
    let events = events(&server, PATH, streamed).await;
    let of = |kind: &str| {
        let kind = format!("response.output_text.{kind}");
        let told = events.iter().filter(move |event| event["type"] == kind);
        let told = told.flat_map(|event| event["logprobs"].as_array().expect("a list").clone());
        Value::from(told.collect::<Vec<_>>())
    };
    assert_eq!(of("delta"), expected);
    assert_eq!(of("done"), expected);
    let last = &events.last().expect("events")["response"];
    assert_eq!(stable(last.clone()), stable(response));
}

#[tokio::test]
async fn log_probabilities_of_calls_are_not_told() {
    let server = TestServer::saying(calling()).await;
    let include = json!(["message.output_text.logprobs"]);
    let body = json!({"input": "Hi", "tools": tools(), "include": include});
    let response = created(&server, body).await;
    let message = &response["output"][0]["content"][0];
    let told = message["logprobs"].as_array().expect("a list").iter();
    let told: String = told.filter_map(|entry| entry["token"].as_str()).collect();
    assert_eq!((&message["text"], told.as_str()), (&json!("So:"), "So:"));
}

/// Words, then a call of `f`, in the form that is asked for where a template knows no tools.
fn calling() -> Script {
    Script::of("So: <tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>")
        .then(EOS)
}

fn tools() -> Value {
    json!([{"type": "function", "name": "f", "description": "Does f.", "parameters": {"type": "object"}}])
}

#[tokio::test]
async fn calls_are_items_of_their_own() {
    let server = TestServer::saying(calling()).await;
    let body = json!({"input": "Hi", "tools": tools()});
    let response = created(&server, body.clone()).await;
    let prompt = String::from_utf8(server.asked().tokens.iter().map(|&id| id as u8).collect());
    let prompt = prompt.expect("text");
    assert!(
        prompt.contains("\"name\":\"f\",\"description\":\"Does f.\""),
        "{prompt}"
    );
    let output = stable(response.clone())["output"].clone();
    assert_eq!(output[0]["content"][0]["text"], "So:");
    let call_id = output[1]["call_id"].as_str().expect("an id");
    let call = json!({"type": "function_call", "call_id": call_id, "name": "f",
                      "arguments": "{\"a\": 1}", "status": "completed"});
    assert_eq!(output[1], call);
    assert_eq!(response["status"], "completed");
    let mut streamed = body;
    streamed["stream"] = json!(true);
    let events = events(&server, PATH, streamed).await;
    let arguments = events.iter().filter(|event| {
        event["item_id"]
            .as_str()
            .is_some_and(|id| id.starts_with("fc_"))
    });
    let deltas: String = arguments
        .filter_map(|event| event["delta"].as_str())
        .collect();
    assert_eq!(deltas, "{\"a\": 1}");
    let result = json!({"type": "function_call_output", "call_id": call_id, "output": "42"});
    created(
        &server,
        json!({"input": [result], "previous_response_id": id(&response)}),
    )
    .await;
    let turn = "user: Hi\nassistant: So:\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>\n\
                user: <tool_response>\n42\n</tool_response>\nassistant: ";
    assert_eq!(
        server.asked().tokens,
        bytes(turn),
        "tools hold for one response"
    );
}

#[tokio::test]
async fn tools_that_may_not_be_called_are_not_told() {
    let server = TestServer::saying(calling()).await;
    let body = json!({"input": "Hi", "tools": tools(), "tool_choice": "none"});
    let response = created(&server, body).await;
    assert_eq!(server.asked().tokens, bytes("user: Hi\nassistant: "));
    assert_eq!(response["output"].as_array().map(Vec::len), Some(1));
    let body =
        json!({"input": "Hi", "tools": tools(), "tool_choice": {"type": "function", "name": "g"}});
    let reply = server.post(PATH, body).await;
    assert_eq!(
        (reply.status, &reply.json()["error"]["param"]),
        (400, &json!("tool_choice"))
    );
}
