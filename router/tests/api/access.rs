//! Every route with every kind of credentials, answered exactly as the router declares.

use std::collections::BTreeSet;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::{Method, RequestBuilder};
use serde_json::json;
use text_generation_router::api::auth::Access;
use text_generation_router::app::endpoints;
use text_generation_router::keys::TenantKey;

use crate::support::{Reply, TestServer};

const KEYS: &str = "acme:Key-of-Acme,globex:k2";

/// What a request carries, and whether it is a key.
struct Credentials {
    name: &'static str,
    valid: bool,
    headers: Vec<(&'static str, String)>,
}

fn credentials() -> Vec<Credentials> {
    let one = |name, valid, header, value: &str| Credentials {
        name,
        valid,
        headers: vec![(header, value.to_owned())],
    };
    let bearer = |name, valid, value: &str| one(name, valid, "authorization", value);
    let basic = |name, valid, pair: &str| {
        let pair = BASE64_STANDARD.encode(pair);
        one(name, valid, "authorization", &format!("Basic {pair}"))
    };
    vec![
        Credentials {
            name: "none",
            valid: false,
            headers: vec![],
        },
        bearer("a key", true, "Bearer Key-of-Acme"),
        bearer("another tenant's key", true, "Bearer k2"),
        bearer("the scheme in lower case", true, "bearer Key-of-Acme"),
        bearer("a key in lower case", false, "Bearer key-of-acme"),
        bearer("the beginning of a key", false, "Bearer Key-of-Acm"),
        bearer("a key and more", false, "Bearer Key-of-Acme2"),
        bearer("the file's line", false, "Bearer acme:Key-of-Acme"),
        bearer("the tenant's name", false, "Bearer acme"),
        bearer("two keys", false, "Bearer Key-of-Acme,k2"),
        bearer("an empty key", false, "Bearer "),
        bearer("no scheme", false, "Key-of-Acme"),
        bearer("another scheme", false, "Digest Key-of-Acme"),
        basic("a password", true, "anybody:Key-of-Acme"),
        basic("a user's name", false, "Key-of-Acme:"),
        basic("a wrong password", false, "anybody:key-of-acme"),
        bearer("a password that is no base64", false, "Basic Key-of-Acme"),
        one("anthropic's header", true, "x-api-key", "k2"),
        one(
            "anthropic's header with a wrong key",
            false,
            "x-api-key",
            "K2",
        ),
        one("another header", false, "api-key", "k2"),
        Credentials {
            name: "a wrong key before a right one",
            valid: false,
            headers: vec![
                ("authorization", "Bearer wrong".to_owned()),
                ("x-api-key", "k2".to_owned()),
            ],
        },
    ]
}

/// The routes as the router declares them, and the files of `/docs`.
fn routes() -> Vec<(Method, String, Access)> {
    let declared = endpoints().into_iter();
    let mut routes: Vec<_> = declared
        .map(|endpoint| {
            let path = endpoint
                .path
                .replace("{", "")
                .replace("}", "")
                .replace('*', "");
            (endpoint.method, path, endpoint.access)
        })
        .collect();
    for path in ["/docs/", "/docs/index.html", "/openapi.json"] {
        routes.push((Method::GET, path.to_owned(), Access::Page));
    }
    routes
}

async fn ask(
    server: &TestServer,
    method: &Method,
    path: &str,
    headers: &[(&str, String)],
) -> Reply {
    let mut request: RequestBuilder = server.request(method.clone(), path);
    if *method == Method::POST {
        request = request.json(&json!({"surprise": true}));
    }
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    Reply::of(request).await
}

async fn with_keys(open_metrics: bool) -> TestServer {
    TestServer::tuned(|router| {
        router.api_keys = TenantKey::parse_all(KEYS).expect("valid keys");
        router.open_metrics = open_metrics;
    })
    .await
}

fn check_refusal(reply: &Reply, path: &str, access: Access, case: &str) {
    assert_eq!(reply.status, 401, "{case}");
    let error = &reply.json()["error"];
    let message = if path.starts_with("/v1/") {
        &error["message"]
    } else {
        error
    };
    assert!(message.is_string(), "{case}: {}", reply.body);
    let challenge = reply.header("www-authenticate");
    let expected = match access {
        Access::Page => "Basic realm=",
        _ => "Bearer",
    };
    assert!(challenge.starts_with(expected), "{case}: {challenge}");
    assert!(!reply.body.contains("Key-of"), "{case}: {}", reply.body);
}

#[tokio::test]
async fn every_route_takes_the_credentials_that_it_declares() {
    let mut cases = 0;
    for open_metrics in [false, true] {
        let server = with_keys(open_metrics).await;
        for (method, path, access) in routes() {
            for Credentials {
                name,
                valid,
                headers,
            } in credentials()
            {
                let case = format!("{method} {path} with {name}, open metrics: {open_metrics}");
                let reply = ask(&server, &method, &path, &headers).await;
                if access.needs_key(open_metrics) && !valid {
                    check_refusal(&reply, &path, access, &case);
                } else {
                    assert_ne!(reply.status, 401, "{case}: {}", reply.body);
                    assert!(reply.status < 500, "{case}: {}", reply.body);
                }
                cases += 1;
            }
        }
    }
    assert!(cases >= 600, "{cases} cases");
}

#[tokio::test]
async fn without_keys_every_route_is_open_to_all() {
    let server = TestServer::tuned(|_| {}).await;
    for (method, path, _) in routes() {
        for Credentials { name, headers, .. } in credentials() {
            let reply = ask(&server, &method, &path, &headers).await;
            assert_ne!(reply.status, 401, "{method} {path} with {name}");
        }
    }
}

#[test]
fn only_the_health_routes_are_open() {
    let open: BTreeSet<_> = endpoints()
        .iter()
        .filter(|endpoint| endpoint.access == Access::Open)
        .map(|endpoint| (endpoint.method.to_string(), endpoint.path))
        .collect();
    let health = [
        "/",
        "/health",
        "/health/live",
        "/health/ready",
        "/health/startup",
        "/ping",
    ];
    assert_eq!(open, health.map(|path| ("GET".to_owned(), path)).into());
}

#[tokio::test]
async fn open_routes_say_nothing_but_their_status() {
    let server = with_keys(false).await;
    for (method, path, access) in routes() {
        if access == Access::Open {
            let reply = ask(&server, &method, &path, &[]).await;
            assert_eq!((reply.status, reply.body.as_str()), (200, ""), "{path}");
        }
    }
}

#[tokio::test]
async fn requests_are_counted_by_tenant() {
    let server = with_keys(true).await;
    let counts = async || {
        let metrics = server.get("/metrics").await.body;
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix("tgi_tenant_requests{tenant=\"globex\"} "));
        line.map_or(0, |count| count.parse::<u64>().expect("a count"))
    };
    let before = counts().await;
    let key = [("authorization", "Bearer k2".to_owned())];
    ask(&server, &Method::GET, "/info", &key).await;
    assert!(counts().await > before);
}

/// The operations of `/openapi.json`.
async fn described() -> BTreeSet<(String, String)> {
    let server = TestServer::tuned(|_| {}).await;
    let document = server.get("/openapi.json").await.json();
    let paths = document["paths"].as_object().expect("paths").clone();
    let mut operations = BTreeSet::new();
    for (path, item) in paths {
        for method in item.as_object().expect("operations").keys() {
            operations.insert((method.to_uppercase(), path.clone()));
        }
    }
    operations
}

#[tokio::test]
async fn what_is_described_is_what_is_declared_but_for_pages() {
    let declared: BTreeSet<_> = endpoints()
        .into_iter()
        // Pages are for people.
        .filter(|endpoint| endpoint.access != Access::Page)
        .map(|endpoint| (endpoint.method.to_string(), endpoint.path.to_owned()))
        .collect();
    assert_eq!(described().await, declared);
}

#[tokio::test]
async fn a_stored_response_is_its_tenants_alone() {
    let server = with_keys(false).await;
    let with = |key: &'static str| [("authorization", format!("Bearer {key}"))];
    let request = server.request(Method::POST, "/v1/responses");
    let request = request.header("authorization", "Bearer k2");
    let made = Reply::of(request.json(&json!({"input": "x"}))).await;
    assert_eq!(made.status, 200, "{}", made.body);
    let path = format!(
        "/v1/responses/{}",
        made.json()["id"].as_str().expect("an id")
    );
    let status = async |method, key| ask(&server, &method, &path, &with(key)).await.status;
    assert_eq!(status(Method::GET, "Key-of-Acme").await, 404);
    assert_eq!(status(Method::DELETE, "Key-of-Acme").await, 404);
    assert_eq!(status(Method::GET, "k2").await, 200);
}
