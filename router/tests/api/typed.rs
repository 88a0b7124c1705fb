//! Streams whose events have types of their own.

use serde_json::Value;

use crate::support::TestServer;

/// The events of a stream. Each is named by its own type.
pub(crate) async fn events(server: &TestServer, path: &str, body: Value) -> Vec<Value> {
    let reply = server.post(path, body).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert_eq!(reply.header("content-type"), "text/event-stream");
    let mut frames = reply.body.split("\n\n").filter(|frame| !frame.is_empty());
    assert_eq!(frames.next(), Some(": admitted"));
    (1..)
        .zip(frames)
        .map(|(id, frame)| event(frame, id).unwrap_or_else(|| panic!("no event: {frame:?}")))
        .collect()
}

fn event(frame: &str, id: usize) -> Option<Value> {
    let field = |name: &str| {
        let mut lines = frame.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    };
    let data: Value = serde_json::from_str(field("data")?).expect("JSON");
    assert_eq!(data["type"].as_str(), field("event"), "{frame}");
    assert_eq!(field("id"), Some(id.to_string().as_str()), "{frame}");
    Some(data)
}

/// Their types.
pub(crate) fn types(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .filter_map(|event| event["type"].as_str())
        .collect()
}
