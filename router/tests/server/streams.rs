//! Tokens come in order, and every request has exactly one end.

use text_generation_router::error::{ApiError, ShardErrorCode};
use text_generation_router::generation::{Event, FinishReason};
use text_generation_router::mock_shard::{Answer, End};
use text_generation_router::pb;

use crate::rig::{collect, events, request, with_shard};

#[tokio::test]
async fn a_stream_has_its_tokens_in_order_and_one_end() {
    let (rig, _shard) = with_shard(|_| {}, |_| Answer::endless(98)).await;
    let events = events(rig.post("/generate_stream", "x", 500).await).await;
    assert_eq!(events.len(), 500);
    for (at, event) in events.iter().enumerate() {
        assert_eq!(event["index"], at + 1);
        assert_eq!(event["generated_text"].is_string(), at == 499, "{event}");
    }
    assert_eq!(events[499]["generated_text"], "b".repeat(500));
    rig.holds(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_streams_do_not_mix() {
    let script = |request: &pb::Request| Answer::endless(97 + u32::from(request.tokens[0]) % 26);
    let (rig, shard) = with_shard(|_| {}, script).await;
    let answers = (0..32u8).map(|n| {
        let letter = char::from(b'a' + n % 26);
        let rig = &rig;
        async move {
            let length = 20 + 7 * u32::from(n);
            let reply = rig
                .post("/generate_stream", &letter.to_string(), length)
                .await;
            let last = events(reply).await.pop().expect("an event");
            let expected = char::from_u32(97 + u32::from(letter) % 26).expect("a letter");
            let text = last["generated_text"].as_str().expect("the end").to_owned();
            assert_eq!(text, expected.to_string().repeat(length as usize));
        }
    });
    futures::future::join_all(answers).await;
    assert_eq!(shard.seen().requests.len(), 32);
    rig.holds(0).await;
}

#[tokio::test]
async fn a_generation_ends_once_and_tells_what_it_cost() {
    let answer = Answer {
        cached_tokens: 5,
        ..Answer::endless(98)
    };
    let (rig, _shard) = with_shard(|_| {}, move |_| answer.clone()).await;
    let events = collect(rig.submit(7, 3)).await;
    assert_eq!(events.len(), 4);
    let Event::Finished(finished) = &events[3] else {
        panic!("{events:?}")
    };
    assert_eq!(finished.reason, FinishReason::Length);
    assert_eq!((finished.prompt_tokens, finished.generated_tokens), (7, 3));
    assert_eq!(finished.receipt.cached_tokens, 5);
    assert!(
        finished.receipt.queue.as_micros() >= 1000,
        "the shard's wait is part of the queue"
    );
    assert_eq!(finished.receipt.decode.as_micros(), 3000);
}

#[tokio::test]
async fn a_stop_token_ends_an_answer() {
    let (rig, _shard) = with_shard(|_| {}, |_| Answer::tokens(vec![98, 99, 256, 98])).await;
    let mut request = request(1, 10);
    request.stop_token_ids = vec![256];
    let model = rig.state.model().expect("a model");
    let events = collect(model.submit(request).expect("taken")).await;
    assert_eq!(events.len(), 4);
    let Event::Finished(finished) = &events[3] else {
        panic!("{events:?}")
    };
    assert_eq!(
        (finished.reason, finished.generated_tokens),
        (FinishReason::StopToken, 3)
    );
}

#[tokio::test]
async fn a_shards_error_reaches_its_request_alone() {
    let failure = pb::Error {
        code: pb::ErrorCode::EngineFailed.into(),
        message: "the step that computed this request failed".into(),
        retryable: true,
    };
    let (rig, _shard) = with_shard(
        |_| {},
        move |request| match request.tokens[0] {
            b'!' => Answer {
                end: End::Error(failure.clone()),
                ..Answer::tokens(vec![98])
            },
            _ => Answer::endless(98),
        },
    )
    .await;
    let (bad, good) = tokio::join!(rig.post("/generate", "!", 9), rig.post("/generate", "x", 9));
    assert_eq!(bad.status(), 424);
    let text = bad.text().await.expect("a body");
    assert!(text.contains("computed this request"), "{text}");
    assert_eq!(good.status(), 200);
}

#[tokio::test]
async fn a_gap_in_the_tokens_fails_its_request_alone_and_cancels_it() {
    let (rig, shard) = with_shard(
        |_| {},
        |request| match request.max_new_tokens {
            5 => Answer {
                end: End::IndexGap,
                ..Answer::tokens(vec![98])
            },
            _ => Answer::endless(98),
        },
    )
    .await;
    let (bad, good) = tokio::join!(collect(rig.submit(1, 5)), collect(rig.submit(1, 50)));
    let Some(Event::Failed(ApiError::Shard(error))) = bad.last() else {
        panic!("{bad:?}")
    };
    assert_eq!(error.code, ShardErrorCode::Protocol);
    assert_eq!(bad.len(), 2);
    assert!(matches!(good.last(), Some(Event::Finished(_))));
    crate::rig::until("the cancel", || shard.seen().cancels.len() == 1).await;
    rig.holds(0).await;
}
