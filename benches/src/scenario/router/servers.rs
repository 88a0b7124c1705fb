//! The two servers that are compared: a router on a mock shard, and a bare HTTP server.

use std::convert::Infallible;

use anyhow::{Context, Result};
use bytes::Bytes;
use futures::future::pending;
use http::{Response, header};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use text_generation_router::mock_shard;
use text_generation_router::serve::{Readiness, Server};
use tokio::net::TcpListener;

/// Answers every request with these bytes; where it answers.
///
/// # Errors
/// When no port is free.
pub(super) async fn serve_bare(body: Bytes) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Without it the connection is only slower.
            let _ = stream.set_nodelay(true);
            let body = body.clone();
            let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let body = body.clone();
                async move {
                    // Read as the router does. A broken body ends the connection by itself.
                    let _ = request.into_body().collect().await;
                    let mut response = Response::new(Full::new(body));
                    let json = header::HeaderValue::from_static("application/json");
                    response.headers_mut().insert(header::CONTENT_TYPE, json);
                    Ok::<_, Infallible>(response)
                }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    });
    Ok(url)
}

/// Runs a router on the shard at `shard_address`, to the end of the process; where it answers.
///
/// # Errors
/// When no port is free or the router ends.
pub(super) async fn serve_router(shard_address: &str) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let server = Server::new(mock_shard::config(shard_address))?;
    let mut readiness = server.readiness();
    tokio::spawn(server.run(listener, pending()));
    readiness
        .wait_for(|readiness| *readiness == Readiness::Ready)
        .await
        .context("the router ended")?;
    Ok(url)
}
