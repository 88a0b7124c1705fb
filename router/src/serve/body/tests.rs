use std::convert::Infallible;

use futures::stream::unfold;

use super::*;
use crate::limits::LimitName;

/// Bounds of so many bytes a second and of a minute in all.
fn bodies(min_body_rate: usize) -> Bodies {
    Bodies::new(&HttpLimits {
        min_body_rate,
        body_timeout: 60,
        payload_limit: 100_000,
        ..HttpLimits::default()
    })
}

/// A body of so many bytes each second, so often.
fn body(bytes: usize, seconds: usize) -> Body {
    Body::from_stream(unfold(0, move |second| async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let part = Ok::<_, Infallible>(vec![b'x'; bytes]);
        (second < seconds).then_some((part, second + 1))
    }))
}

#[tokio::test(start_paused = true)]
async fn a_body_that_keeps_its_rate_is_received() {
    let whole = bodies(1000).receive(body(1000, 40)).await;
    assert_eq!(whole.map(|whole| whole.len()), Ok(40_000));
}

#[tokio::test(start_paused = true)]
async fn a_body_below_its_rate_is_refused_once_its_grace_is_over() {
    let started = Instant::now();
    let refused = bodies(1000).receive(body(800, 40)).await.unwrap_err();
    assert_eq!(refused, ApiError::BodyTooSlow(1000));
    assert_eq!(refused.limit(), Some(LimitName::BodyRate));
    // The 21st part would come when 20 parts were worth 5 s + 16 s.
    assert!((20..=22).contains(&started.elapsed().as_secs()));
    let short = bodies(1000).receive(body(800, 15)).await;
    assert_eq!(short.map(|whole| whole.len()), Ok(12_000));
}

#[tokio::test(start_paused = true)]
async fn without_a_rate_the_time_alone_counts() {
    let whole = bodies(0).receive(body(1, 50)).await;
    assert_eq!(whole.map(|whole| whole.len()), Ok(50));
    let refused = bodies(0).receive(body(1, 100)).await.unwrap_err();
    assert_eq!(refused, ApiError::BodyTimeout(Duration::from_secs(60)));
    assert_eq!(refused.limit(), Some(LimitName::BodyTime));
}
