//! Shards come late, fall sick, die and come back as something else.

use std::time::Duration;

use serde_json::Value;
use text_generation_router::error::{ApiError, ShardErrorCode};
use text_generation_router::generation::Event;
use text_generation_router::mock_shard::{Answer, End, Options};
use text_generation_router::serve::Readiness;
use tokio::time::{Instant, timeout};

use crate::rig::{admitted, busy, collect, events, hang, paced, until, with_shard, without_shard};

fn unavailable(now: &Readiness) -> bool {
    matches!(now, Readiness::Unavailable { .. })
}

#[tokio::test]
async fn while_loading_the_port_answers_that_it_is() {
    let mut rig = without_shard(|_| {}).await;
    assert_eq!(
        rig.health().await,
        [200, 503, 503],
        "live, not ready, not started"
    );
    let generate = rig.post("/generate", "x", 5).await;
    assert_eq!(generate.status(), 503);
    assert!(seconds(&generate) >= 1);
    let body: Value = generate.json().await.expect("JSON");
    assert_eq!(body["error_type"], "unavailable");

    let shard = rig.start_shard(Options::new(|_| Answer::endless(98)));
    shard.set_serving(false);
    let early = timeout(Duration::from_millis(300), rig.ready()).await;
    assert!(early.is_err(), "a shard that is not serving is not ready");
    shard.set_serving(true);
    rig.ready().await;
    assert_eq!(rig.health().await, [200, 200, 200]);
    assert_eq!(rig.post("/generate", "x", 5).await.status(), 200);
}

fn seconds(response: &reqwest::Response) -> u64 {
    let value = response.headers()["retry-after"].to_str().expect("ASCII");
    value.parse().expect("whole seconds")
}

#[tokio::test]
async fn a_sick_shard_turns_health_red_and_keeps_its_requests() {
    let (mut rig, shard) = with_shard(|_| {}, |_| paced(5)).await;
    let running = rig.submit(1, 400);
    shard.set_serving(false);
    rig.turns(unavailable).await;
    assert_eq!(rig.get("/health").await.status(), 503);
    shard.set_serving(true);
    rig.ready().await;
    assert!(matches!(
        collect(running).await.last(),
        Some(Event::Finished(_))
    ));
}

#[tokio::test]
async fn a_dead_shard_fails_its_streams_at_once_and_comes_back() {
    let (mut rig, shard) = with_shard(|_| {}, |_| paced(5)).await;
    let native = rig.post("/generate_stream", "x", 100_000).await;
    let direct = rig.submit(1, 100_000);
    admitted(&shard, 2).await;
    let death = Instant::now();
    shard.kill();
    let direct = collect(direct).await;
    let Some(Event::Failed(ApiError::Shard(error))) = direct.last() else {
        panic!("{direct:?}")
    };
    assert_eq!(
        (error.code, error.retryable),
        (ShardErrorCode::Unavailable, true)
    );
    let last = events(native).await.pop().expect("an event");
    assert_eq!(last["error_type"], "generation");
    rig.turns(unavailable).await;
    assert!(
        death.elapsed() < Duration::from_secs(5),
        "{:?}",
        death.elapsed()
    );
    assert_eq!(rig.get("/health").await.status(), 503);
    assert_eq!(rig.post("/generate", "x", 5).await.status(), 503);
    rig.holds(0).await;

    let loaded_at = rig.state.model().expect("a model").loaded_at;
    let _shard = rig.start_shard(Options::new(|_| paced(5)));
    rig.ready().await;
    assert_eq!(rig.post("/generate", "x", 5).await.status(), 200);
    assert_eq!(
        rig.state.model().expect("a model").loaded_at,
        loaded_at,
        "the model is kept"
    );
}

#[tokio::test]
async fn what_waits_in_the_queue_outlives_the_shard() {
    let (mut rig, shard, running) = busy(|_| {}, hang()).await;
    let waiting = rig.submit(1, 5);
    shard.kill();
    assert!(matches!(
        collect(running).await.last(),
        Some(Event::Failed(_))
    ));
    rig.turns(unavailable).await;
    let _shard = rig.start_shard(Options::new(|_| Answer::endless(98)));
    assert_eq!(collect(waiting).await.len(), 6);
}

#[tokio::test]
async fn a_stream_that_breaks_is_opened_again() {
    let (mut rig, shard) = with_shard(
        |_| {},
        |request| match request.max_new_tokens {
            7 => Answer {
                end: End::BreakStream,
                ..Answer::tokens(vec![98])
            },
            _ => Answer::endless(98),
        },
    )
    .await;
    let broken = collect(rig.submit(1, 7)).await;
    assert_eq!(broken.len(), 2);
    assert!(matches!(
        broken.last(),
        Some(Event::Failed(ApiError::Shard(_)))
    ));
    until("the second stream", || shard.seen().streams == 2).await;
    rig.ready().await;
    until("the new stream", || {
        rig.state.model().expect("a model").is_connected()
    })
    .await;
    assert_eq!(collect(rig.submit(1, 8)).await.len(), 9);
}

#[tokio::test]
async fn another_model_takes_the_place_of_the_first() {
    let (mut rig, shard, _running) = busy(|_| {}, hang()).await;
    let waiting = rig.submit(1, 5);
    shard.kill();
    rig.turns(unavailable).await;
    let mut options = Options::new(|_| Answer::endless(98));
    options.info.fingerprint = "another".into();
    options.info.max_total_tokens = 1000;
    let _shard = rig.start_shard(options);
    rig.ready().await;
    let failed = collect(waiting).await;
    assert!(
        matches!(failed[..], [Event::Failed(ApiError::Unavailable { .. })]),
        "{failed:?}"
    );
    let info: Value = rig.get("/info").await.json().await.expect("JSON");
    assert_eq!(info["max_total_tokens"], 1000);
    assert_eq!(rig.post("/generate", "x", 5).await.status(), 200);
}

#[tokio::test]
async fn a_shard_of_another_protocol_is_refused() {
    let mut rig = without_shard(|_| {}).await;
    let mut options = Options::new(|_| Answer::endless(98));
    options.info.protocol_version += 1;
    let shard = rig.start_shard(options);
    let early = timeout(Duration::from_millis(500), rig.ready()).await;
    assert!(early.is_err());
    assert_eq!(shard.seen().streams, 0);
}
