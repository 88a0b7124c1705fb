//! Streams whose events have types of their own.

use serde_json::Value;

use crate::support::TestServer;

/// The events of a stream. Each is named by its own type.
pub(crate) async fn events(server: &TestServer, path: &str, body: Value) -> Vec<Value> {
    server.stream_of(path, body, event).await
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
