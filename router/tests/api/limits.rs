//! Limits on what one request asks for: taken at the limit, refused and counted beyond it.

use serde_json::{Value, json};
use text_generation_router::config::RouterConfig;

use crate::support::TestServer;

const CHAT: &str = "/v1/chat/completions";

/// Hits of a limit so far, in all tests of this process.
async fn hits(server: &TestServer, limit: &str) -> u64 {
    let series = format!("tgi_limit_hits{{limit=\"{limit}\"}} ");
    let page = server.get("/metrics").await.body;
    let line = page.lines().find_map(|line| line.strip_prefix(&series));
    line.map_or(0, |count| count.parse().expect("a number"))
}

/// Both requests, one at the limit and one beyond it, which is answered with `status` and a message
/// that holds `mention`.
async fn both_sides(
    tune: impl FnOnce(&mut RouterConfig),
    limit: &str,
    (path, taken, refused): (&str, Value, Value),
    (status, mention): (u16, &str),
) {
    let server = TestServer::tuned(tune).await;
    let reply = server.post(path, taken).await;
    assert_eq!(reply.status, 200, "{limit}: {}", reply.body);
    let before = hits(&server, limit).await;
    let reply = server.post(path, refused).await;
    assert_eq!(reply.status, status, "{limit}: {}", reply.body);
    assert!(reply.body.contains(mention), "{limit}: {}", reply.body);
    assert!(hits(&server, limit).await > before, "{limit} is counted");
}

fn said(messages: usize) -> Value {
    let message = json!({"role": "user", "content": "Hi"});
    json!({"messages": vec![message; messages]})
}

fn tool(name: &str) -> Value {
    json!({"type": "function", "function": {"name": name, "parameters": {"type": "object"}}})
}

fn with_tools(tools: Vec<Value>) -> Value {
    let mut body = said(1);
    body["tools"] = tools.into();
    body
}

fn generate(parameters: Value) -> Value {
    json!({"inputs": "x", "parameters": parameters})
}

#[tokio::test]
async fn depth_of_a_body() {
    let depth = |extra: usize| {
        let deep = (0..extra).fold(json!(1), |inner, _| json!([inner]));
        json!({"inputs": "x", "ignored": deep})
    };
    both_sides(
        |router| router.http.max_json_depth = 10,
        "json_depth",
        ("/generate", depth(9), depth(10)),
        (422, "at most 10 arrays and objects"),
    )
    .await;
}

#[tokio::test]
async fn messages_and_tools() {
    both_sides(
        |router| router.limits.max_messages = 3,
        "messages",
        (CHAT, said(3), said(4)),
        (400, "1 to 3 entries, got 4"),
    )
    .await;
    let tools = |count: usize| with_tools((0..count).map(|n| tool(&format!("f{n}"))).collect());
    both_sides(
        |router| router.limits.max_tools = 2,
        "tools",
        (CHAT, tools(2), tools(3)),
        (400, "at most 2 entries, got 3"),
    )
    .await;
    let bytes = tool("f0").to_string().len();
    both_sides(
        |router| router.limits.max_tool_bytes = bytes,
        "tool_bytes",
        (CHAT, tools(1), with_tools(vec![tool("longer")])),
        (400, "bytes together"),
    )
    .await;
}

#[tokio::test]
async fn tools_that_the_model_does_not_hear_of_are_bounded_too() {
    let server = TestServer::tuned(|router| router.limits.max_tools = 1).await;
    let mut body = with_tools(vec![tool("f"), tool("g")]);
    body["tool_choice"] = "none".into();
    assert_eq!(server.post(CHAT, body).await.status, 400);
}

#[tokio::test]
async fn names_of_tools_have_a_form() {
    let server = TestServer::tuned(|_| {}).await;
    for (name, status) in [
        ("get_weather-2", 200),
        (&*"x".repeat(128), 200),
        (&*"x".repeat(129), 400),
        ("two words", 400),
        ("f\"}, {", 400),
        ("caf\u{e9}", 400),
    ] {
        let reply = server.post(CHAT, with_tools(vec![tool(name)])).await;
        assert_eq!(reply.status, status, "{name}: {}", reply.body);
        if status == 400 {
            assert_eq!(reply.json()["error"]["param"], "tools", "{name}");
        }
    }
}

#[tokio::test]
async fn text_and_work_of_a_template() {
    let words =
        |count: usize| json!({"messages": [{"role": "user", "content": "x".repeat(count)}]});
    both_sides(
        |router| router.limits.max_template_bytes = 200,
        "template_bytes",
        (CHAT, words(100), words(300)),
        (400, "more than 200 bytes"),
    )
    .await;
    both_sides(
        |router| router.limits.max_template_fuel = 100,
        "template_fuel",
        (CHAT, said(1), said(40)),
        (400, "chat template"),
    )
    .await;
}

#[tokio::test]
async fn what_one_prompt_asks_for() {
    let stop = |count: usize| generate(json!({"stop": vec!["x"; count]}));
    both_sides(
        |router| router.limits.max_stop_sequences = 2,
        "stop_sequences",
        ("/generate", stop(2), stop(3)),
        (422, "at most 2 strings, got 3"),
    )
    .await;
    let top = |count: u32| generate(json!({"top_n_tokens": count}));
    both_sides(
        |router| router.limits.max_top_n_tokens = 1,
        "top_n_tokens",
        ("/generate", top(1), top(2)),
        (422, "at most 1, got 2"),
    )
    .await;
    let n = |count: u32| json!({"messages": said(1)["messages"], "n": count});
    both_sides(
        |router| router.limits.max_n = 2,
        "n",
        (CHAT, n(2), n(3)),
        (400, "n must be at most 2, got 3"),
    )
    .await;
    let length = |tokens: u32| generate(json!({"max_new_tokens": tokens}));
    both_sides(
        |_| {},
        "total_tokens",
        ("/generate", length(1), length(10_000_000)),
        (422, "+ 10000000"),
    )
    .await;
}

#[tokio::test]
async fn bytes_of_a_body() {
    let long = |bytes: usize| json!({"inputs": "x", "ignored": "x".repeat(bytes)});
    both_sides(
        |router| router.http.payload_limit = 1000,
        "payload",
        ("/generate", long(900), long(1000)),
        (413, "payload limit"),
    )
    .await;
}
