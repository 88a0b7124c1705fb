//! A request that nobody waits for is cancelled wherever it is, and leaves nothing behind.

use std::time::Duration;

use serde_json::json;
use text_generation_router::config::RouterConfig;
use text_generation_router::error::ApiError;
use text_generation_router::generation::{Event, FinishReason};
use text_generation_router::mock_shard::Answer;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;

use crate::rig::{admitted, body, busy, collect, hang, paced, read_some, until, with_shard};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn while_queued_it_never_reaches_the_shard() {
    let (rig, shard, first) = busy(|_| {}, hang()).await;
    let queued = rig.client.post(rig.url("/generate")).json(&body("x", 5));
    let queued = tokio::spawn(queued.send());
    rig.holds(2).await;
    queued.abort();
    rig.holds(1).await;
    drop(first);
    rig.holds(0).await;
    until("the cancel", || shard.seen().cancels.len() == 1).await;
    assert_eq!(shard.seen().requests.len(), 1);
}

#[tokio::test]
async fn while_prefilling_the_shard_is_told() {
    let (rig, shard) = with_shard(
        |_| {},
        |_| Answer {
            wait: HOUR,
            ..hang()
        },
    )
    .await;
    for path in ["/generate", "/generate_stream"] {
        let request = rig.client.post(rig.url(path)).json(&body("x", 5));
        let waiting = tokio::spawn(async move {
            let response = request.send().await.expect("an answer");
            response.text().await
        });
        let count = shard.seen().requests.len() + 1;
        admitted(&shard, count).await;
        waiting.abort();
        until("the cancel", || shard.seen().cancels.len() == count).await;
        rig.holds(0).await;
    }
    let seen = shard.seen();
    assert_eq!(seen.cancels[0].id, seen.requests[0].id);
    assert_eq!(seen.cancels[0].keep_tokens, None);
}

#[tokio::test]
async fn mid_stream_the_shard_is_told() {
    let (rig, shard) = with_shard(|_| {}, |_| paced(2)).await;
    let response = rig.post("/generate_stream", "x", 100_000).await;
    read_some(response, 500).await;
    until("the cancel", || shard.seen().cancels.len() == 1).await;
    rig.holds(0).await;
}

#[tokio::test]
async fn a_shard_that_hears_no_cancel_keeps_no_place_in_the_server() {
    let deaf = Answer {
        ignores_cancel: true,
        ..hang()
    };
    let (rig, shard, first) = busy(|_| {}, deaf).await;
    drop(first);
    rig.holds(0).await;
    // Its credit is still in use.
    let second = rig.submit(1, 5);
    until("the cancel", || shard.seen().cancels.len() == 1).await;
    assert_eq!(shard.seen().most_in_flight, 1);
    drop(second);
    rig.holds(0).await;
    assert_eq!(shard.seen().requests.len(), 1);
}

#[tokio::test]
async fn a_stopped_answer_keeps_its_first_tokens() {
    let (rig, shard) = with_shard(|_| {}, |_| paced(2)).await;
    let mut generation = rig.submit(1, 100_000);
    for _ in 0..5 {
        assert!(matches!(generation.next().await, Some(Event::Token(_))));
    }
    generation.stop(4);
    let rest = collect(generation).await;
    let Some(Event::Finished(finished)) = rest.last() else {
        panic!("{rest:?}")
    };
    assert_eq!(
        (finished.reason, finished.generated_tokens),
        (FinishReason::Stopped, 4)
    );
    let cancels = shard.seen().cancels;
    assert_eq!(
        cancels.len(),
        1,
        "the end of a stopped answer is no second cancel"
    );
    assert_eq!(cancels[0].keep_tokens, Some(4));
}

#[tokio::test]
async fn a_request_that_takes_too_long_fails_and_is_cancelled() {
    let (rig, shard) = with_shard(|router| router.limits.request_timeout = 1, |_| hang()).await;
    let response = rig.post("/generate", "x", 5).await;
    assert_eq!(response.status(), 504);
    until("the cancel", || shard.seen().cancels.len() == 1).await;
    assert!((1..=1000).contains(&shard.seen().requests[0].timeout_ms));
    rig.holds(0).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cancelled() {
    let (rig, shard) = with_shard(
        |router| router.http.write_stall_timeout = 1,
        |_| Answer::endless(98),
    )
    .await;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let mut client = socket.connect(rig.address).await.expect("a connection");
    let parameters = json!({"max_new_tokens": 100_000, "top_n_tokens": 20});
    let body = json!({"inputs": "x", "parameters": parameters}).to_string();
    let head = "POST /generate_stream HTTP/1.1\r\nhost: x\r\ncontent-type: application/json";
    let request = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    client
        .write_all(request.as_bytes())
        .await
        .expect("it is sent");
    admitted(&shard, 1).await;
    rig.holds(0).await;
}

#[tokio::test]
async fn a_handler_that_does_not_read_is_cancelled() {
    let (rig, shard) = with_shard(|router| router.http.write_stall_timeout = 1, |_| paced(1)).await;
    let generation = rig.submit(1, 100_000);
    until("the cancel", || shard.seen().cancels.len() == 1).await;
    let events = collect(generation).await;
    assert!(matches!(
        events.last(),
        Some(Event::Failed(ApiError::SlowReader(_)))
    ));
}

#[tokio::test]
async fn as_many_events_as_allowed_may_stay_unread_and_no_more() {
    let tune = |router: &mut RouterConfig| {
        router.http.max_unread_events = 5;
        router.http.write_stall_timeout = 0;
    };
    for (tokens, ends) in [(5, true), (6, false)] {
        let (rig, shard) = with_shard(tune, |_| Answer::endless(98)).await;
        let generation = rig.submit(1, tokens);
        admitted(&shard, 1).await;
        // The first answer has come, unread, once a later one has.
        collect(rig.submit(1, 1)).await;
        let events = collect(generation).await;
        let last = events.last().expect("an end");
        match last {
            Event::Finished(_) => assert!(ends, "after {tokens}"),
            Event::Failed(ApiError::SlowReader(_)) => assert!(!ends, "after {tokens}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_dropped_at_random_moments_leave_nothing_behind() {
    let pace = Duration::from_micros(500);
    let wait = Duration::from_millis(3);
    let script = move |_: &_| Answer {
        wait,
        pace,
        ..Answer::endless(98)
    };
    let (rig, shard) = with_shard(|_| {}, script).await;
    shard.set_credit(16);
    let drops = (0..200u64).map(|n| {
        let request = rig
            .client
            .post(rig.url("/generate_stream"))
            .json(&body("x", 40));
        async move {
            let work = async { request.send().await.expect("an answer").text().await };
            let patience = Duration::from_millis(n * 37 % 60);
            let _ = tokio::time::timeout(patience, work).await;
        }
    });
    futures::future::join_all(drops).await;
    rig.holds(0).await;
    assert!(shard.seen().most_in_flight <= 64);
    assert!(matches!(
        collect(rig.submit(1, 2)).await.last(),
        Some(Event::Finished(_))
    ));
}
