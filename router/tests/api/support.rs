//! A server over a scripted shard, and a client that keeps what it is answered.

use std::sync::{Arc, Mutex};

use reqwest::header::HeaderMap;
use serde_json::Value;
use text_generation_router::config::RouterConfig;

use crate::backend::Backend;

/// The served model's id.
pub(crate) const MODEL: &str = "test/tiny-model";

/// What the shard was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) tokens: Vec<u32>,
    pub(crate) seed: u64,
}

/// What the shard answers: tokens up to the request's own limits, or fewer and an error.
#[derive(Debug, Clone, Default)]
pub(crate) struct Script {
    pub(crate) tokens: Vec<u32>,
    pub(crate) logprob: f32,
    pub(crate) cached_tokens: u32,
    pub(crate) error: Option<String>,
}

impl Script {
    pub(crate) fn tokens(tokens: Vec<u32>) -> Self {
        Self {
            tokens,
            logprob: -0.5,
            ..Self::default()
        }
    }

    pub(crate) fn of(text: &str) -> Self {
        Self::tokens(bytes(text))
    }

    pub(crate) fn then(mut self, id: u32) -> Self {
        self.tokens.push(id);
        self
    }

    pub(crate) fn and(mut self, text: &str) -> Self {
        self.tokens.extend(bytes(text));
        self
    }

    pub(crate) fn logprob(self, logprob: f32) -> Self {
        Self { logprob, ..self }
    }

    pub(crate) fn cached(self, cached_tokens: u32) -> Self {
        Self {
            cached_tokens,
            ..self
        }
    }

    pub(crate) fn failing(self, message: &str) -> Self {
        Self {
            error: Some(message.to_owned()),
            ..self
        }
    }
}

/// Token ids of a text: its bytes.
pub(crate) fn bytes(text: &str) -> Vec<u32> {
    text.bytes().map(u32::from).collect()
}

pub(crate) struct TestServer {
    asked: Arc<Mutex<Option<Asked>>>,
    client: reqwest::Client,
    base: String,
    _backend: Backend,
}

impl TestServer {
    /// Answers every request with the script that `script` makes of it.
    pub(crate) async fn start(script: impl Fn(&Asked) -> Script + Send + Sync + 'static) -> Self {
        Self::boot(script, |_| {}).await
    }

    /// Answers every request with the same script.
    pub(crate) async fn saying(script: Script) -> Self {
        Self::boot(move |_| script.clone(), |_| {}).await
    }

    /// A server whose operator changed something.
    pub(crate) async fn tuned(tune: impl FnOnce(&mut RouterConfig)) -> Self {
        let script = Script::of("a").then(crate::fixture::EOS);
        Self::boot(move |_| script.clone(), tune).await
    }

    async fn boot(
        script: impl Fn(&Asked) -> Script + Send + Sync + 'static,
        tune: impl FnOnce(&mut RouterConfig),
    ) -> Self {
        let asked = Arc::new(Mutex::new(None));
        let seen = Arc::clone(&asked);
        let recording = move |request: &Asked| {
            *seen.lock().expect("no test panics here") = Some(request.clone());
            script(request)
        };
        let backend = Backend::start(Arc::new(recording), tune).await;
        let base = format!("http://{}", backend.address);
        Self {
            asked,
            client: reqwest::Client::new(),
            base,
            _backend: backend,
        }
    }

    /// The latest request that reached the shard.
    pub(crate) fn asked(&self) -> Asked {
        self.asked
            .lock()
            .expect("no test panics here")
            .clone()
            .expect("a request reached the shard")
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        Reply::of(self.client.get(self.url(path))).await
    }

    pub(crate) async fn get_with(&self, path: &str, header: &str, value: &str) -> Reply {
        Reply::of(self.client.get(self.url(path)).header(header, value)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        Reply::of(self.client.delete(self.url(path))).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        Reply::of(self.client.post(self.url(path)).json(&body)).await
    }

    pub(crate) async fn post_with(
        &self,
        path: &str,
        (header, value): (&str, &str),
        body: Value,
    ) -> Reply {
        let request = self.client.post(self.url(path)).header(header, value);
        Reply::of(request.json(&body)).await
    }

    pub(crate) async fn post_as(
        &self,
        path: &str,
        content_type: &str,
        body: &'static str,
    ) -> Reply {
        let request = self
            .client
            .post(self.url(path))
            .header("content-type", content_type);
        Reply::of(request.body(body)).await
    }

    /// A request to be completed.
    pub(crate) fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, self.url(path))
    }

    /// The events of a stream: JSON, or the text of those that are none.
    pub(crate) async fn stream(&self, path: &str, body: Value) -> Vec<Value> {
        self.stream_of(path, body, event).await
    }

    /// The events of a stream, each read by `event` with the number that it should have. Every stream
    /// begins with a comment.
    pub(crate) async fn stream_of(
        &self,
        path: &str,
        body: Value,
        event: fn(&str, usize) -> Option<Value>,
    ) -> Vec<Value> {
        let reply = self.post(path, body).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        assert_eq!(reply.header("content-type"), "text/event-stream");
        let mut frames = reply.body.split("\n\n").filter(|frame| !frame.is_empty());
        assert_eq!(frames.next(), Some(": admitted"));
        (1..)
            .zip(frames)
            .map(|(id, frame)| event(frame, id).unwrap_or_else(|| panic!("no event: {frame:?}")))
            .collect()
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

fn event(frame: &str, id: usize) -> Option<Value> {
    let data = frame.strip_prefix("data: ")?;
    let data = data.strip_suffix(&format!("\nid: {id}"))?;
    Some(serde_json::from_str(data).unwrap_or_else(|_| Value::from(data)))
}

pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) async fn of(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.expect("the server answers");
        Self {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.text().await.expect("the body is text"),
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> String {
        let value = self
            .headers
            .get(name)
            .unwrap_or_else(|| panic!("no header {name}"));
        value.to_str().expect("an ASCII header").to_owned()
    }
}
