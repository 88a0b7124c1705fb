//! `/v1/completions`.

use serde_json::{Value, json};

use crate::fixture::{BOS, EOS};
use crate::support::{Script, TestServer};

const PATH: &str = "/v1/completions";

#[tokio::test]
async fn completions_answer_prompts_in_order() {
    let server = TestServer::start(|asked| {
        let last = asked.tokens.last().copied().unwrap_or_default();
        Script::tokens(vec![last, last]).then(EOS)
    })
    .await;
    let body = json!({"prompt": ["a", "b"], "max_tokens": 5, "n": null, "stop": null});
    let answer = server.post(PATH, body).await.json();
    assert_eq!(answer["object"], "text_completion");
    assert!(
        answer["id"]
            .as_str()
            .is_some_and(|id| id.starts_with("cmpl-"))
    );
    let choice = |index: u32, text: &str| json!({"index": index, "text": text, "logprobs": null, "finish_reason": "stop"});
    assert_eq!(answer["choices"], json!([choice(0, "aa"), choice(1, "bb")]));
    assert_eq!(answer["usage"]["prompt_tokens"], 4);
    assert_eq!(answer["usage"]["total_tokens"], 10);
}

#[tokio::test]
async fn completions_take_token_ids() {
    let server = TestServer::saying(Script::of("a").then(EOS)).await;
    server.post(PATH, json!({"prompt": [BOS, 97]})).await;
    assert_eq!(server.asked().tokens, [BOS, 97]);
    let answer = server
        .post(PATH, json!({"prompt": [[97], [98]]}))
        .await
        .json();
    assert_eq!(answer["choices"].as_array().map(Vec::len), Some(2));
    let reply = server.post(PATH, json!({"prompt": [97, 100_000]})).await;
    assert_eq!(reply.status, 400);
    assert!(reply.body.contains("got 100000"), "{}", reply.body);
}

#[tokio::test]
async fn completions_stream_text_and_log_probabilities() {
    let server = TestServer::saying(Script::of("ab")).await;
    let body = json!({"prompt": "x", "max_tokens": 2, "stream": true, "logprobs": 0,
                      "stream_options": {"include_usage": true}});
    let chunks = server.stream(PATH, body).await;
    assert_eq!(
        chunks.len(),
        5,
        "two tokens, the end, usage, done: {chunks:?}"
    );
    assert_eq!(chunks[0]["choices"][0]["text"], "a");
    let logprobs = json!({"tokens": ["b"], "token_logprobs": [-0.5], "top_logprobs": [{}], "text_offset": [1]});
    assert_eq!(chunks[1]["choices"][0]["logprobs"], logprobs);
    assert_eq!(chunks[2]["choices"][0]["finish_reason"], "length");
    assert_eq!(chunks[3]["usage"]["completion_tokens"], 2);
    assert_eq!(chunks[4], "[DONE]");
}

/// One answer a seed, the likelier the larger the last digit.
async fn drawing() -> TestServer {
    TestServer::start(|asked| {
        let digit = asked.seed % 10;
        let logprob = -1.0 / (1 + digit) as f32;
        Script::of(&digit.to_string()).then(EOS).logprob(logprob)
    })
    .await
}

#[tokio::test]
async fn the_likeliest_of_several_answers_are_told() {
    let server = drawing().await;
    let body = json!({"prompt": "x", "best_of": 2, "seed": 5});
    let answer = server.post(PATH, body).await.json();
    let texts = |answer: &Value| -> Vec<Value> {
        let choices = answer["choices"].as_array().expect("a list").iter();
        choices.map(|choice| choice["text"].clone()).collect()
    };
    assert_eq!(texts(&answer), ["6"]);
    assert_eq!(answer["usage"]["prompt_tokens"], 2, "it counts once");
    assert_eq!(answer["usage"]["completion_tokens"], 4, "of both answers");
    let body = json!({"prompt": ["x", "y"], "best_of": 2, "n": 1, "seed": 5});
    let answer = server.post(PATH, body).await.json();
    assert_eq!(texts(&answer), ["6", "6"]);
    assert_eq!(answer["choices"][1]["index"], 1);
    let body = json!({"prompt": "x", "best_of": 2, "n": 2, "seed": 5});
    let answer = server.post(PATH, body).await.json();
    assert_eq!(texts(&answer), ["5", "6"], "nothing to choose");
}

#[tokio::test]
async fn what_cannot_be_drawn_is_refused() {
    let server = drawing().await;
    for (body, says) in [
        (
            json!({"best_of": 1, "n": 2}),
            "best_of = 1 must be at least n, which is 2",
        ),
        (json!({"best_of": 3}), "best_of must be at most 2, got 3"),
        (
            json!({"best_of": 2, "stream": true}),
            "best_of = 2 cannot be streamed",
        ),
        (json!({"best_of": 5}), "best_of must be at most 2, got 5"),
        (json!({"best_of": 0}), "best_of must be at least 1"),
    ] {
        let mut body = body;
        body["prompt"] = json!("x");
        let reply = server.post(PATH, body).await;
        assert_eq!(reply.status, 400, "{}", reply.body);
        let error = &reply.json()["error"];
        assert_eq!(error["param"], "best_of");
        let message = error["message"].as_str().expect("a text");
        assert!(message.contains(says), "{message}");
    }
    let body = json!({"prompt": "x", "best_of": 2, "n": 2, "stream": true});
    assert_eq!(server.post(PATH, body).await.status, 200);
}

#[tokio::test]
async fn an_echo_begins_with_the_prompt() {
    let server = TestServer::saying(Script::of("!").then(EOS)).await;
    for (prompt, expected) in [
        (json!("Hé"), vec!["Hé!"]),
        (json!(["a", "b"]), vec!["a!", "b!"]),
        (json!([BOS, 104, 105]), vec!["hi!"]),
        (json!([[97], [98]]), vec!["a!", "b!"]),
    ] {
        let mut body = json!({"prompt": prompt, "echo": true});
        let answer = server.post(PATH, body.clone()).await.json();
        let choices = answer["choices"].as_array().expect("a list").iter();
        let texts: Vec<_> = choices.map(|choice| &choice["text"]).collect();
        assert_eq!(texts, expected);
        body["stream"] = json!(true);
        let chunks = server.stream(PATH, body).await;
        for (index, text) in expected.iter().enumerate() {
            let pieces = chunks.iter().map(|chunk| &chunk["choices"][0]);
            let pieces = pieces.filter(|choice| choice["index"] == index);
            let joined: String = pieces
                .filter_map(|choice| choice["text"].as_str())
                .collect();
            assert_eq!(&joined, text);
        }
    }
}

#[tokio::test]
async fn an_echo_tells_the_prompts_log_probabilities() {
    let server = TestServer::saying(Script::of("c").then(EOS)).await;
    let mut body = json!({"prompt": "ab", "echo": true, "logprobs": 1});
    let answer = server.post(PATH, body.clone()).await.json();
    let expected = json!({
        "tokens": ["<s>", "a", "b", "c", "</s>"],
        "token_logprobs": [null, -0.25, -0.25, -0.5, -0.5],
        "top_logprobs": [null, {"a": -0.25}, {"b": -0.25}, {"c": -0.5}, {"</s>": -0.5}],
        "text_offset": [0, 0, 1, 2, 3],
    });
    assert_eq!(answer["choices"][0]["logprobs"], expected);
    assert_eq!(answer["choices"][0]["text"], "abc");
    body["stream"] = json!(true);
    let chunks = server.stream(PATH, body).await;
    let choices: Vec<_> = chunks.iter().map(|chunk| &chunk["choices"][0]).collect();
    assert_eq!(choices[0]["text"], "ab");
    let logprobs = choices.iter().map(|choice| &choice["logprobs"]);
    for list in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
        let told = logprobs.clone().filter_map(|lists| lists[list].as_array());
        let told: Vec<Value> = told.flatten().cloned().collect();
        assert_eq!(Value::from(told), expected[list], "{list}");
    }
}

/// As programs ask that score given texts.
#[tokio::test]
async fn an_echo_needs_no_answer() {
    let server = TestServer::saying(Script::of("c").then(EOS)).await;
    let mut body = json!({"prompt": "ab", "echo": true, "logprobs": 0, "max_tokens": 0});
    let reply = server.post(PATH, body.clone()).await;
    let answer = reply.json();
    let choice = &answer["choices"][0];
    assert_eq!(choice["text"], "ab");
    assert_eq!(choice["finish_reason"], "length");
    assert_eq!(choice["logprobs"]["tokens"], json!(["<s>", "a", "b"]));
    let counts = json!({"prompt_tokens": 3, "completion_tokens": 0, "total_tokens": 3,
                        "prompt_tokens_details": {"cached_tokens": 0}});
    assert_eq!(answer["usage"], counts);
    assert_eq!(reply.header("x-generated-tokens"), "0");
    body["stream"] = json!(true);
    let chunks = server.stream(PATH, body.clone()).await;
    assert_eq!(chunks.len(), 3, "the prompt, the end, done: {chunks:?}");
    assert_eq!(chunks[0]["choices"][0]["text"], "ab");
    assert_eq!(chunks[1]["choices"][0]["text"], "");
    body["echo"] = Value::Null;
    let reply = server.post(PATH, body).await;
    assert_eq!(reply.status, 400);
    assert!(reply.body.contains("0 needs echo"), "{}", reply.body);
}

#[tokio::test]
async fn a_suffix_is_refused_by_name() {
    let server = TestServer::saying(Script::of("c").then(EOS)).await;
    let reply = server
        .post(PATH, json!({"prompt": "x", "suffix": "y"}))
        .await;
    assert_eq!(reply.status, 400);
    let error = &reply.json()["error"];
    assert_eq!(error["param"], "suffix");
    assert_eq!(error["type"], "invalid_request_error");
    for none in [Value::Null, json!("")] {
        let body = json!({"prompt": "x", "suffix": none});
        assert_eq!(server.post(PATH, body).await.status, 200);
    }
}
