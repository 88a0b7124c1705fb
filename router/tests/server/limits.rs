//! Work is bounded: what is too much is refused at once, with the time to come again.

use std::time::Duration;

use serde_json::Value;
use text_generation_router::config::RouterConfig;
use text_generation_router::error::{ApiError, Limit};
use text_generation_router::generation::Event;
use text_generation_router::mock_shard::Answer;
use tokio::time::Instant;

use crate::rig::{admitted, busy, collect, hang, paced, request, with_credit, with_shard};

#[tokio::test]
async fn one_request_too_many_is_refused_with_the_time_to_come_again() {
    let (rig, _shard) = with_shard(
        |router| router.limits.max_concurrent_requests = 2,
        |_| hang(),
    )
    .await;
    let held = [rig.submit(1, 5), rig.submit(1, 5)];
    for path in ["/generate", "/generate_stream"] {
        let response = rig.post(path, "x", 5).await;
        assert_eq!(response.status(), 429, "{path}");
        let seconds = response.headers()["retry-after"]
            .to_str()
            .expect("ASCII")
            .to_owned();
        assert!(seconds.parse::<u64>().expect("a number") >= 1);
        let body: Value = response.json().await.expect("JSON");
        assert_eq!(body["error_type"], "overloaded");
        assert!(
            body["error"]
                .as_str()
                .expect("a text")
                .contains("2 requests"),
            "{body}"
        );
    }
    drop(held);
    rig.holds(0).await;
}

#[tokio::test]
async fn waiting_prompt_tokens_are_bounded() {
    let tune = |router: &mut RouterConfig| router.limits.max_queued_tokens = 100;
    let (rig, shard) = with_credit(1, tune, |_| hang()).await;
    let _running = rig.submit(500, 5);
    admitted(&shard, 1).await;
    let waiting = rig.submit(60, 5);
    let model = rig.state.model().expect("a model");
    let refused = model
        .submit(request(41, 5))
        .expect_err("100 tokens may wait");
    let ApiError::Overloaded { limit, retry_after } = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(limit, Limit::QueuedTokens(100));
    assert!(retry_after >= Duration::from_secs(1));
    let fits = rig.submit(40, 5);
    drop((waiting, fits));
    rig.holds(1).await;
    let _again = rig.submit(100, 5);
}

#[tokio::test]
async fn the_wait_in_the_queue_is_bounded() {
    let (rig, shard, running) = busy(|router| router.limits.max_queue_seconds = 1, hang()).await;
    let start = Instant::now();
    let response = rig.post("/generate", "x", 5).await;
    assert_eq!(response.status(), 429);
    assert!(response.headers().contains_key("retry-after"));
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(shard.seen().requests.len(), 1);
    drop(running);
    rig.holds(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shard_never_holds_more_than_it_granted() {
    let (rig, shard) = with_credit(4, |_| {}, |_| paced(1)).await;
    let answers = (0..40).map(|n| collect(rig.submit(1, 1 + n % 7)));
    for events in futures::future::join_all(answers).await {
        assert!(
            matches!(events.last(), Some(Event::Finished(_))),
            "{events:?}"
        );
    }
    let seen = shard.seen();
    assert_eq!((seen.requests.len(), seen.most_in_flight), (40, 4));
    let ids: Vec<_> = seen.requests.iter().map(|request| request.id).collect();
    assert!(ids.is_sorted(), "first in, first out: {ids:?}");
}

#[tokio::test]
async fn without_credit_requests_wait_until_it_comes() {
    let (rig, shard) = with_credit(0, |_| {}, |_| Answer::endless(98)).await;
    let waiting = rig.submit(1, 3);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(shard.seen().requests.is_empty());
    shard.set_credit(1);
    assert_eq!(collect(waiting).await.len(), 4);
}
