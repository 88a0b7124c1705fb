//! `/generate`, `/generate_stream`, `/`, `/tokenize`.

use serde_json::{Value, json};

use crate::fixture::{BOS, EOS};
use crate::support::{Script, TestServer, bytes};

#[tokio::test]
async fn generate_answers_with_the_text_alone() {
    let server = TestServer::saying(Script::of("Paris").then(EOS)).await;
    let reply = server.post("/generate", json!({"inputs": "France"})).await;
    assert_eq!(
        (reply.status, reply.json()),
        (200, json!({"generated_text": "Paris"}))
    );
}

#[tokio::test]
async fn generate_tells_details_and_times() {
    let server = TestServer::saying(Script::of("ab").then(EOS).cached(3)).await;
    let body = json!({"inputs": "xyz", "parameters": {"details": true, "max_new_tokens": 5}});
    let reply = server.post("/generate", body).await;
    let token = |id: u32, text: &str, special: bool| json!({"id": id, "text": text, "logprob": -0.5, "special": special});
    let details = json!({
        "finish_reason": "eos_token", "generated_tokens": 3, "seed": null, "cached_tokens": 3,
        "prefill": [], "tokens": [token(97, "a", false), token(98, "b", false), token(EOS, "</s>", true)],
    });
    assert_eq!(
        reply.json(),
        json!({"generated_text": "ab", "details": details})
    );
    assert_eq!(reply.header("x-prompt-tokens"), "4", "BOS and three bytes");
    assert_eq!(reply.header("x-generated-tokens"), "3");
    assert_eq!(reply.header("x-compute-characters"), "3");
    for name in ["total", "validation", "queue", "inference"] {
        reply
            .header(&format!("x-{name}-time"))
            .parse::<u64>()
            .expect("whole milliseconds");
    }
    reply
        .header("x-time-per-token")
        .parse::<u64>()
        .expect("whole milliseconds");
    reply
        .header("x-compute-time")
        .parse::<f64>()
        .expect("seconds");
    assert!(!reply.header("x-compute-type").is_empty());
}

#[tokio::test]
async fn generate_ends_at_the_length_limit() {
    let server = TestServer::saying(Script::of("abcdef")).await;
    let body = json!({"inputs": "x", "parameters": {"details": true, "max_new_tokens": 3}});
    let answer = server.post("/generate", body).await.json();
    assert_eq!(answer["generated_text"], "abc");
    assert_eq!(answer["details"]["finish_reason"], "length");
}

#[tokio::test]
async fn a_prompt_gets_special_tokens_and_is_truncated_at_its_beginning() {
    let server = TestServer::saying(Script::of("a").then(EOS)).await;
    server.post("/generate", json!({"inputs": "xyz"})).await;
    assert_eq!(server.asked().tokens, [BOS, 120, 121, 122]);
    let body = json!({"inputs": "xyz", "parameters": {"truncate": 2}});
    server.post("/generate", body).await;
    assert_eq!(server.asked().tokens, [121, 122]);
}

#[tokio::test]
async fn the_full_text_begins_with_the_prompt() {
    let server = TestServer::saying(Script::of("b").then(EOS)).await;
    let body = json!({"inputs": "aé", "parameters": {"return_full_text": true}});
    assert_eq!(
        server.post("/generate", body.clone()).await.json()["generated_text"],
        "aéb"
    );
    let events = server.stream("/generate_stream", body).await;
    assert_eq!(events.last().expect("an event")["generated_text"], "aéb");
}

#[tokio::test]
async fn sampled_answers_tell_their_seed() {
    let server = TestServer::saying(Script::of("a").then(EOS)).await;
    let body = json!({"inputs": "x", "parameters": {"details": true, "seed": 7, "top_p": 0.9}});
    let answer = server.post("/generate", body).await.json();
    assert_eq!(answer["details"]["seed"], 7);
    assert_eq!(server.asked().seed, 7);
    let body = json!({"inputs": "x", "parameters": {"details": true, "do_sample": true}});
    let answer = server.post("/generate", body).await.json();
    assert_eq!(answer["details"]["seed"], server.asked().seed);
}

#[tokio::test]
async fn best_of_puts_the_likeliest_answer_first() {
    let server = TestServer::start(|asked| {
        let likely = asked.seed.is_multiple_of(2);
        Script::of(if likely { "yes" } else { "no" })
            .then(EOS)
            .logprob(if likely { -0.25 } else { -1.0 })
    })
    .await;
    let parameters = json!({"best_of": 2, "do_sample": true, "details": true});
    let body = json!({"inputs": "x", "parameters": parameters});
    let answer = server.post("/generate", body).await.json();
    assert_eq!(answer["generated_text"], "yes");
    let others = answer["details"]["best_of_sequences"]
        .as_array()
        .expect("the other answer");
    assert_eq!(others.len(), 1);
    assert_eq!(others[0]["generated_text"], "no");
    assert_eq!(others[0]["generated_tokens"], 3);
}

#[tokio::test]
async fn the_most_likely_tokens_come_with_their_text() {
    let server = TestServer::saying(Script::of("a").then(EOS)).await;
    let body = json!({"inputs": "x", "parameters": {"details": true, "top_n_tokens": 2}});
    let answer = server.post("/generate", body).await.json();
    let top = &answer["details"]["top_tokens"];
    assert_eq!(
        top.as_array().map(Vec::len),
        Some(2),
        "one list a token: {top}"
    );
    assert_eq!(
        top[0][0],
        json!({"id": 97, "text": "a", "logprob": -0.5, "special": false})
    );
    assert_eq!(top[0].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn compat_answers_with_a_list_of_one_or_a_stream() {
    let server = TestServer::saying(Script::of("hi").then(EOS)).await;
    let reply = server.post("/", json!({"inputs": "x"})).await;
    assert_eq!(reply.json(), json!([{"generated_text": "hi"}]));
    let events = server
        .stream("/", json!({"inputs": "x", "stream": true}))
        .await;
    assert_eq!(events.last().expect("an event")["generated_text"], "hi");
}

#[tokio::test]
async fn a_stream_sends_each_token_and_ends_with_the_text() {
    let server = TestServer::saying(Script::of("ab").then(EOS).cached(1)).await;
    let body = json!({"inputs": "x", "parameters": {"details": true, "max_new_tokens": 9}});
    let events = server.stream("/generate_stream", body).await;
    let event = |index: u32, id: u32, text: &str, special: bool| {
        json!({"index": index,
               "token": {"id": id, "text": text, "logprob": -0.5, "special": special},
               "generated_text": null, "details": null})
    };
    let mut last = event(3, EOS, "</s>", true);
    last["generated_text"] = json!("ab");
    last["details"] = json!({"finish_reason": "eos_token", "generated_tokens": 3, "seed": null,
                             "input_length": 2, "cached_tokens": 1});
    assert_eq!(
        events,
        [event(1, 97, "a", false), event(2, 98, "b", false), last]
    );
}

#[tokio::test]
async fn a_stream_has_its_headers_and_no_done_mark() {
    let server = TestServer::saying(Script::of("a").then(EOS)).await;
    let reply = server
        .post("/generate_stream", json!({"inputs": "x"}))
        .await;
    assert_eq!(reply.header("content-type"), "text/event-stream");
    assert_eq!(reply.header("x-accel-buffering"), "no");
    assert_eq!(reply.header("x-compute-characters"), "1");
    assert!(!reply.body.contains("[DONE]"), "{}", reply.body);
}

#[tokio::test]
async fn a_stream_of_one_token_is_one_event() {
    let server = TestServer::saying(Script::of("abc")).await;
    let body = json!({"inputs": "x", "parameters": {"max_new_tokens": 1}});
    let events = server.stream("/generate_stream", body).await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["generated_text"], "a");
    assert_eq!(events[0]["details"], Value::Null);
}

#[tokio::test]
async fn a_stop_string_ends_the_answer_across_tokens_and_stays() {
    let server = TestServer::saying(Script::of("one END two").then(EOS)).await;
    let parameters = json!({"stop": ["END"], "details": true});
    let body = json!({"inputs": "x", "parameters": parameters});
    let answer = server.post("/generate", body.clone()).await.json();
    assert_eq!(answer["generated_text"], "one END");
    assert_eq!(answer["details"]["finish_reason"], "stop_sequence");
    assert_eq!(answer["details"]["generated_tokens"], 7);
    assert_eq!(
        answer["details"]["tokens"].as_array().map(Vec::len),
        Some(7)
    );
    let events = server.stream("/generate_stream", body).await;
    assert_eq!(events.len(), 7);
    assert_eq!(events[6]["generated_text"], "one END");
    assert_eq!(events[6]["details"]["finish_reason"], "stop_sequence");
}

#[tokio::test]
async fn a_stop_string_inside_a_token_cuts_its_text() {
    // Token 258 is "hello".
    let server = TestServer::saying(Script::tokens(vec![258, 258])).await;
    let body = json!({"inputs": "x", "parameters": {"stop": ["ell"]}});
    let events = server.stream("/generate_stream", body).await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["token"]["text"], "hell");
    assert_eq!(events[0]["generated_text"], "hell");
}

#[tokio::test]
async fn a_character_is_never_split() {
    let server = TestServer::saying(Script::of("h€😀é").then(EOS)).await;
    let events = server
        .stream("/generate_stream", json!({"inputs": "x"}))
        .await;
    let texts: Vec<_> = events.iter().map(|event| &event["token"]["text"]).collect();
    assert_eq!(texts, ["h", "", "", "€", "", "", "", "😀", "", "é", "</s>"]);
    let visible = events
        .iter()
        .filter(|event| event["token"]["special"] == false);
    let joined: String = visible
        .filter_map(|event| event["token"]["text"].as_str())
        .collect();
    assert_eq!(events[10]["generated_text"], joined);
}

#[tokio::test]
async fn ignoring_end_of_text_goes_on_to_the_length_limit() {
    let server = TestServer::saying(Script::of("a").then(EOS).and("b")).await;
    let parameters = json!({"ignore_eos": true, "max_new_tokens": 3, "details": true});
    let body = json!({"inputs": "x", "parameters": parameters});
    let answer = server.post("/generate", body).await.json();
    assert_eq!(answer["generated_text"], "ab");
    assert_eq!(answer["details"]["finish_reason"], "length");
}

#[tokio::test]
async fn what_clients_send_by_default_is_taken() {
    let server = TestServer::saying(Script::of("a").then(EOS)).await;
    // As `text-generation` 0.7 sends it.
    let parameters = json!({
        "do_sample": false, "max_new_tokens": 20, "repetition_penalty": null,
        "frequency_penalty": null, "return_full_text": false, "stop": [], "seed": null,
        "temperature": null, "top_k": null, "top_p": null, "truncate": null, "typical_p": null,
        "best_of": null, "watermark": false, "details": true, "decoder_input_details": false,
        "top_n_tokens": null, "grammar": null,
    });
    let body = json!({"inputs": "x", "parameters": parameters, "stream": false});
    assert_eq!(
        server.post("/", body).await.json()[0]["generated_text"],
        "a"
    );
}

#[tokio::test]
async fn tokenize_tells_ids_texts_and_places() {
    let server = TestServer::saying(Script::of("")).await;
    let answer = server
        .post("/tokenize", json!({"inputs": "hé"}))
        .await
        .json();
    assert_eq!(
        answer[0],
        json!({"id": BOS, "text": "<s>", "start": 0, "stop": 0})
    );
    assert_eq!(
        answer[1],
        json!({"id": 104, "text": "h", "start": 0, "stop": 1})
    );
    let ids: Vec<_> = answer
        .as_array()
        .expect("a list")
        .iter()
        .map(|t| t["id"].clone())
        .collect();
    assert_eq!(
        ids[1..],
        bytes("hé").into_iter().map(Value::from).collect::<Vec<_>>()
    );
}
