//! A server that is asked to end finishes what runs, within its time.

use std::time::Duration;

use text_generation_router::mock_shard::{Answer, End};
use text_generation_router::serve::{Readiness, Shutdown};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::rig::{admitted, events, paced, with_shard};

#[tokio::test]
async fn running_requests_finish_and_new_connections_are_refused() {
    let (mut rig, shard) = with_shard(|_| {}, |_| paced(5)).await;
    let running = rig.post("/generate_stream", "x", 100).await;
    admitted(&shard, 1).await;
    rig.shut_down();
    rig.turns(|now| *now == Readiness::Draining).await;
    assert!(TcpStream::connect(rig.address).await.is_err());
    assert_eq!(events(running).await.len(), 100);
    rig.ended().await;
}

#[tokio::test]
async fn an_announced_shutdown_still_takes_requests_for_a_while() {
    let (mut rig, _shard) =
        with_shard(|router| router.lame_duck = 5, |_| Answer::endless(98)).await;
    let start = Instant::now();
    rig.end(Shutdown::Announced);
    rig.turns(|now| *now == Readiness::Draining).await;
    assert_eq!(rig.health().await, [200, 503, 200]);
    assert_eq!(rig.post("/generate", "x", 5).await.status(), 200);
    rig.ended().await;
    assert!(start.elapsed() >= Duration::from_secs(5));
    assert!(TcpStream::connect(rig.address).await.is_err());
}

#[tokio::test]
async fn what_takes_too_long_is_ended() {
    let (mut rig, shard) = with_shard(
        |router| router.graceful_termination_timeout = 1,
        |_| Answer {
            end: End::Hang,
            ..Answer::tokens(vec![98])
        },
    )
    .await;
    let running = rig.post("/generate_stream", "x", 100).await;
    admitted(&shard, 1).await;
    let start = Instant::now();
    rig.shut_down();
    rig.ended().await;
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert!(
        running.text().await.is_err(),
        "the stream is cut, not ended"
    );
}

#[tokio::test]
async fn idle_connections_do_not_hold_a_server_up() {
    let (mut rig, _shard) = with_shard(
        |router| router.graceful_termination_timeout = 3600,
        |_| Answer::endless(98),
    )
    .await;
    assert_eq!(rig.get("/health").await.status(), 200);
    let _silent = TcpStream::connect(rig.address).await.expect("a connection");
    rig.shut_down();
    rig.ended().await;
}
