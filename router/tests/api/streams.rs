//! Many streams at once, and clients that go away.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::fixture::EOS;
use crate::support::{Asked, Script, TestServer};

/// An answer that depends on the prompt and differs in length.
fn echo(asked: &Asked) -> Script {
    let prompt = &asked.tokens[1..];
    Script::tokens(prompt.iter().rev().copied().collect()).then(EOS)
}

#[tokio::test]
async fn concurrent_streams_do_not_mix() {
    let server = TestServer::start(echo).await;
    let streams = (0..32).map(|number| {
        let prompt = format!("prompt {number} é€😀 ").repeat(1 + number % 7);
        let server = &server;
        async move {
            let events = server
                .stream("/generate_stream", json!({"inputs": prompt}))
                .await;
            // Reversed bytes are no text; the ids are exact.
            let ids: Vec<Value> = events
                .iter()
                .map(|event| event["token"]["id"].clone())
                .collect();
            let mut expected: Vec<Value> = prompt.bytes().rev().map(Value::from).collect();
            expected.push(EOS.into());
            assert_eq!(ids, expected);
            let indexes: Vec<_> = events
                .iter()
                .filter_map(|event| event["index"].as_u64())
                .collect();
            assert!(indexes.iter().copied().eq(1..=indexes.len() as u64));
            assert!(events.last().expect("an event")["generated_text"].is_string());
        }
    });
    join_all(streams).await;
}

#[tokio::test]
async fn streams_and_whole_answers_agree() {
    let server = TestServer::start(echo).await;
    let body = json!({"inputs": "a b c d", "parameters": {"details": true}});
    let whole = server.post("/generate", body.clone()).await.json();
    let events = server.stream("/generate_stream", body).await;
    assert_eq!(
        events.last().expect("an event")["generated_text"],
        whole["generated_text"]
    );
    let tokens: Vec<_> = events.iter().map(|event| event["token"].clone()).collect();
    assert_eq!(Value::from(tokens), whole["details"]["tokens"]);
}
