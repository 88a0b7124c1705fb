//! HTTP client whose streams carry the time at which each event came.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use sse_stream::SseStream;

/// Talks to one server over kept-alive connections. Clones share the connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: HttpClient<HttpConnector, Full<Bytes>>,
    url: String,
    /// The `Authorization` header of every request.
    key: Option<HeaderValue>,
}

/// A whole response.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// From sending to the last byte.
    pub elapsed: Duration,
}

impl Answer {
    /// The body of a successful response.
    ///
    /// # Errors
    /// When the status or the body is something else; the body is in the message.
    pub fn json(&self) -> Result<Value> {
        let text = || String::from_utf8_lossy(&self.body);
        ensure!(
            self.status.is_success(),
            "status {}: {}",
            self.status,
            text()
        );
        serde_json::from_slice(&self.body).with_context(|| format!("no JSON: {}", text()))
    }
}

impl Client {
    /// A client of the server at `url`, such as `http://127.0.0.1:3000`.
    #[must_use]
    pub fn new(url: &str) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self {
            http: HttpClient::builder(TokioExecutor::new()).build(connector),
            url: url.trim_end_matches('/').to_owned(),
            key: None,
        }
    }

    /// The same with a key for a server that wants one.
    ///
    /// # Errors
    /// When a header cannot hold the key.
    pub fn with_key(self, key: &str) -> Result<Self> {
        let mut key: HeaderValue = format!("Bearer {key}")
            .parse()
            .context("the key holds characters that no header can")?;
        key.set_sensitive(true);
        Ok(Self {
            key: Some(key),
            ..self
        })
    }

    /// Gets a page.
    ///
    /// # Errors
    /// When the server cannot be reached or breaks the connection.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.whole(Method::GET, path, Bytes::new()).await
    }

    /// Posts JSON.
    ///
    /// # Errors
    /// When the server cannot be reached or breaks the connection.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.post_bytes(path, serde_json::to_vec(body)?.into())
            .await
    }

    /// Posts JSON that is already written.
    ///
    /// # Errors
    /// When the server cannot be reached or breaks the connection.
    pub async fn post_bytes(&self, path: &str, body: Bytes) -> Result<Answer> {
        self.whole(Method::POST, path, body).await
    }

    /// Streams the answer to a prompt: greedy, exactly `max_new_tokens` long.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn generate(&self, prompt: &str, max_new_tokens: usize) -> Result<TokenStream> {
        let body = json!({"inputs": prompt, "parameters": {
            "max_new_tokens": max_new_tokens, "ignore_eos": true, "details": true,
        }});
        let body = serde_json::to_vec(&body)?.into();
        let started = Instant::now();
        let response = self.send(Method::POST, "/generate_stream", body).await?;
        let status = response.status();
        if !status.is_success() {
            let body = response.into_body().collect().await?.to_bytes();
            bail!("status {status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(TokenStream {
            events: SseStream::new(response.into_body()),
            started,
        })
    }

    async fn whole(&self, method: Method, path: &str, body: Bytes) -> Result<Answer> {
        let started = Instant::now();
        let response = self.send(method, path, body).await?;
        let status = response.status();
        let headers = response.headers().clone();
        let body = response.into_body().collect().await?.to_bytes();
        Ok(Answer {
            status,
            headers,
            body,
            elapsed: started.elapsed(),
        })
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        if let Some(key) = &self.key {
            request
                .headers_mut()
                .insert(header::AUTHORIZATION, key.clone());
        }
        self.http
            .request(request)
            .await
            .with_context(|| format!("cannot reach {}{path}", self.url))
    }
}

/// An answer as it comes. Dropping it closes the connection, which cancels the request.
pub struct TokenStream {
    events: SseStream<Incoming>,
    started: Instant,
}

/// A token's arrival; the last one carries the answer.
#[derive(Debug)]
pub struct Arrival {
    /// When its event was read.
    pub at: Instant,
    /// The whole answer, on the last token.
    pub end: Option<End>,
}

/// How an answer ended.
#[derive(Debug)]
pub struct End {
    /// The answer's text.
    pub text: String,
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Those of them that came from the cache.
    pub cached_tokens: u64,
    /// Tokens of the answer.
    pub generated_tokens: u64,
}

/// A whole streamed answer.
#[derive(Debug)]
pub struct Run {
    /// From sending to the first token.
    pub ttft: Duration,
    /// Times between one token and the next.
    pub gaps: Vec<Duration>,
    /// How it ended.
    pub end: End,
}

impl TokenStream {
    /// Waits for the next token.
    ///
    /// # Errors
    /// When the stream breaks, ends early or carries an error.
    pub async fn next(&mut self) -> Result<Arrival> {
        loop {
            let event = self
                .events
                .next()
                .await
                .context("the stream ended early")??;
            // Keep-alive comments carry no data.
            if let Some(data) = event.data {
                return arrival(Instant::now(), &data);
            }
        }
    }

    /// Reads to the end.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn finish(mut self) -> Result<Run> {
        let mut arrival = self.next().await?;
        let ttft = arrival.at - self.started;
        let mut gaps = vec![];
        loop {
            if let Some(end) = arrival.end {
                return Ok(Run { ttft, gaps, end });
            }
            let next = self.next().await?;
            gaps.push(next.at - arrival.at);
            arrival = next;
        }
    }
}

fn arrival(at: Instant, data: &str) -> Result<Arrival> {
    let event: Value = serde_json::from_str(data)?;
    ensure!(event.get("token").is_some(), "the stream failed: {data}");
    let details = |field: &str| event["details"][field].as_u64().unwrap_or(0);
    let end = event["generated_text"].as_str().map(|text| End {
        text: text.to_owned(),
        prompt_tokens: details("input_length"),
        cached_tokens: details("cached_tokens"),
        generated_tokens: details("generated_tokens"),
    });
    Ok(Arrival { at, end })
}
