//! Pages of other origins, and the ids of requests.

use reqwest::Method;

use crate::support::{Reply, TestServer};

/// The answer to a browser that asks whether a page may call.
async fn preflight(server: &TestServer, origin: &str, headers: &str) -> Reply {
    let request = server.request(Method::OPTIONS, "/v1/chat/completions");
    let request = request
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", headers);
    Reply::of(request).await
}

#[tokio::test]
async fn any_page_may_call_with_a_key_and_what_libraries_add() {
    let server = TestServer::tuned(|_| {}).await;
    let asked = "authorization,content-type,x-api-key,x-request-id,x-stainless-lang";
    let reply = preflight(&server, "https://app.example", asked).await;
    assert_eq!(reply.header("access-control-allow-origin"), "*");
    assert_eq!(reply.header("access-control-allow-headers"), asked);
    assert!(
        !reply
            .headers
            .contains_key("access-control-allow-credentials")
    );
}

#[tokio::test]
async fn only_listed_origins_may_call() {
    let server = TestServer::tuned(|router| {
        router.cors_allow_origin = vec!["https://a.example".into(), "https://b.example".into()];
    })
    .await;
    let reply = preflight(&server, "https://b.example", "authorization").await;
    assert_eq!(
        reply.header("access-control-allow-origin"),
        "https://b.example"
    );
    let reply = preflight(&server, "https://c.example", "authorization").await;
    assert!(!reply.headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn pages_may_read_the_headers_that_tell_about_an_answer() {
    let server = TestServer::tuned(|_| {}).await;
    let reply = server
        .get_with("/health", "origin", "https://app.example")
        .await;
    let exposed = reply.header("access-control-expose-headers");
    for name in [
        "x-request-id",
        "retry-after",
        "x-prompt-tokens",
        "x-time-per-token",
    ] {
        assert!(exposed.contains(name), "{name} is not in {exposed}");
    }
}

#[tokio::test]
async fn every_answer_carries_an_id() {
    let server = TestServer::tuned(|_| {}).await;
    let made = server.get("/nothing").await.header("x-request-id");
    assert_eq!(made.len(), 36, "{made}");
    assert_ne!(made, server.get("/health").await.header("x-request-id"));
    let id = |sent: &'static str| {
        let server = &server;
        async move {
            server
                .get_with("/health", "x-request-id", sent)
                .await
                .header("x-request-id")
        }
    };
    assert_eq!(id("mine").await, "mine");
    assert_eq!(id("two words").await.len(), 36, "an unfit id is replaced");
}
