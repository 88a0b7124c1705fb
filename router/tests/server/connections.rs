//! Connections and bodies keep their bounds, whatever a client sends or does not send.

use std::time::Duration;

use reqwest::Response;
use text_generation_router::mock_shard::{Answer, MockShard};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::rig::{PATIENCE, Rig, body, with_shard};

async fn server() -> (Rig, MockShard) {
    let tune = |router: &mut text_generation_router::config::RouterConfig| {
        router.http.header_timeout = 1;
        router.http.body_timeout = 1;
        router.http.payload_limit = 10_000;
    };
    with_shard(tune, |_| Answer::endless(98)).await
}

/// Sends bytes and reads until the server closes the connection.
async fn talk(rig: &Rig, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(rig.address).await.expect("a connection");
    stream.write_all(bytes).await.expect("it is sent");
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    // A reset is an end too.
    let _ = read.expect("the server closes the connection");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn connections_that_do_not_ask_are_closed() {
    let (rig, _shard) = server().await;
    let beginnings: [&[u8]; 4] = [
        b"",
        b"G",
        b"POST /generate HTTP/1.1\r\nhost: x\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r",
    ];
    for beginning in beginnings {
        let start = Instant::now();
        talk(&rig, beginning).await;
        let waited = start.elapsed();
        assert!(
            waited >= Duration::from_millis(900),
            "{beginning:?} {waited:?}"
        );
    }
    assert!(hits(&rig, "header_time").await >= beginnings.len() as u64);
}

/// Hits of a limit so far, in all tests of this process.
async fn hits(rig: &Rig, limit: &str) -> u64 {
    let series = format!("tgi_limit_hits{{limit=\"{limit}\"}} ");
    let page = rig.get("/metrics").await.text().await.expect("a text");
    let line = page.lines().find_map(|line| line.strip_prefix(&series));
    line.map_or(0, |count| count.parse().expect("a number"))
}

#[tokio::test]
async fn long_streams_outlive_the_time_for_a_request() {
    let pace = Duration::from_millis(20);
    let (rig, _shard) = with_shard(
        |router| {
            router.http.header_timeout = 1;
            router.http.write_stall_timeout = 1;
        },
        move |_| Answer {
            pace,
            ..Answer::endless(98)
        },
    )
    .await;
    let events = crate::rig::events(rig.post("/generate_stream", "x", 120).await).await;
    assert_eq!(events.len(), 120);
}

#[tokio::test]
async fn header_sections_are_bounded() {
    let (rig, _shard) = server().await;
    let long = format!(
        "GET /health HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n",
        "x".repeat(50_000)
    );
    let answer = talk(&rig, long.as_bytes()).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
    let lines: String = (0..200).map(|n| format!("x-{n}: y\r\n")).collect();
    let many = format!("GET /health HTTP/1.1\r\nhost: x\r\n{lines}\r\n");
    let answer = talk(&rig, many.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let few = format!(
        "GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{}\r\n",
        "x: y\r\n".repeat(90)
    );
    let answer = talk(&rig, few.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(hits(&rig, "headers").await >= 2);
}

#[tokio::test]
async fn bodies_are_bounded_whether_their_length_is_told_or_not() {
    let (rig, shard) = server().await;
    let large = body(&"x".repeat(20_000), 5).to_string();
    let post = || {
        rig.client
            .post(rig.url("/generate"))
            .header("content-type", "application/json")
    };
    let told = post().body(large.clone()).send().await.expect("an answer");
    assert_eq!(told.status(), 413);
    assert!(told.headers().contains_key("x-request-id"));
    assert_eq!(told.headers()["access-control-allow-origin"], "*");
    let chunks = futures::stream::iter([Ok::<_, std::io::Error>(large)]);
    let untold = post()
        .body(reqwest::Body::wrap_stream(chunks))
        .send()
        .await
        .expect("an answer");
    assert_eq!(untold.status(), 413);
    let body: serde_json::Value = untold.json().await.expect("JSON");
    assert_eq!(body["error_type"], "payload_too_large");
    assert!(shard.seen().requests.is_empty());
}

#[tokio::test]
async fn bodies_that_do_not_come_are_refused() {
    let (rig, _shard) = server().await;
    let head = "POST /generate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                content-length: 100\r\n\r\n{\"inputs\":";
    let mut stream = TcpStream::connect(rig.address).await.expect("a connection");
    stream.write_all(head.as_bytes()).await.expect("it is sent");
    let mut answer = String::new();
    let read = timeout(PATIENCE, stream.read_to_string(&mut answer)).await;
    read.expect("an answer in time").expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(
        answer.contains("access-control-allow-origin: *"),
        "{answer}"
    );
}

#[tokio::test]
async fn bodies_being_received_are_bounded_together() {
    let (rig, _shard) = with_shard(
        |router| {
            router.http.payload_limit = 10_000;
            router.http.max_body_bytes_in_flight = 10_000;
        },
        |_| Answer::endless(98),
    )
    .await;
    let head = "POST /generate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                content-length: 9500\r\n\r\n{";
    let mut slow = TcpStream::connect(rig.address).await.expect("a connection");
    slow.write_all(head.as_bytes()).await.expect("it is sent");
    let refused = answered(&rig, 429).await;
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(refused.headers()["access-control-allow-origin"], "*");
    drop(slow);
    answered(&rig, 200).await;
}

/// Posts a body of more than 500 bytes again and again until the answer has this status.
async fn answered(rig: &Rig, status: u16) -> Response {
    let answer = async {
        loop {
            let answer = rig.post("/generate", &"x".repeat(2000), 5).await;
            if answer.status() == status {
                return answer;
            }
        }
    };
    timeout(PATIENCE, answer).await.expect("the status in time")
}

#[tokio::test]
async fn connections_are_bounded() {
    let (rig, _shard) = with_shard(
        |router| router.http.max_connections = 2,
        |_| Answer::endless(98),
    )
    .await;
    let open = async || TcpStream::connect(rig.address).await.expect("a connection");
    let held = (open().await, open().await);
    let waits = timeout(Duration::from_millis(300), rig.get("/health")).await;
    assert!(waits.is_err(), "a third connection waits");
    drop(held);
    assert!(hits(&rig, "connections").await >= 1);
}

#[tokio::test]
async fn http2_is_spoken_too() {
    let (rig, _shard) = server().await;
    let client = reqwest::Client::builder()
        .http2_prior_knowledge()
        .build()
        .expect("a client");
    let reply = client
        .post(rig.url("/generate"))
        .json(&body("x", 5))
        .send()
        .await;
    let reply = reply.expect("an answer");
    assert_eq!(
        (reply.status().as_u16(), reply.version()),
        (200, reqwest::Version::HTTP_2)
    );
}
