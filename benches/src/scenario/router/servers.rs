//! The two servers that are compared: a router on a mock shard, and a bare HTTP server.

use std::convert::Infallible;
use std::path::PathBuf;

use anyhow::{Context, Result};
use bytes::Bytes;
use futures::future::pending;
use http::{Response, header};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use text_generation_router::config::{
    Dtype, EngineConfig, ExecutorKind, GrammarConfig, HttpLimits, KvCacheDtype, Limits,
    ModelConfig, RouterConfig, ServeConfig,
};
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
    let server = Server::new(config(shard_address))?;
    let mut readiness = server.readiness();
    tokio::spawn(server.run(listener, pending()));
    readiness
        .wait_for(|readiness| *readiness == Readiness::Ready)
        .await
        .context("the router ended")?;
    Ok(url)
}

/// A router's configuration with the defaults of the launcher.
pub(super) fn config(shard_address: &str) -> ServeConfig {
    ServeConfig {
        model: ModelConfig {
            model_id: "mock".to_owned(),
            revision: None,
            executor: ExecutorKind::Auto,
            dtype: Dtype::Auto,
            quantize: None,
            kv_cache_dtype: KvCacheDtype::Auto,
            tokenizer_config_path: None,
            hub_cache: None,
            cache_dir: None,
        },
        engine: EngineConfig {
            run_dir: PathBuf::new(),
            num_shard: 1,
            master_addr: String::new(),
            master_port: 0,
            max_input_tokens: None,
            max_total_tokens: None,
            max_batch_size: 128,
            max_batch_prefill_tokens: 512,
            max_batch_total_tokens: None,
            kv_memory_bytes: None,
            prefix_caching: true,
            page_tokens: None,
            num_threads: None,
        },
        router: RouterConfig {
            hostname: "127.0.0.1".to_owned(),
            port: 0,
            shard_address: shard_address.to_owned(),
            api_keys: vec![],
            api_keys_file: None,
            open_metrics: false,
            cors_allow_origin: vec![],
            limits: Limits::default(),
            http: HttpLimits::default(),
            otlp_endpoint: None,
            otlp_service_name: "test".into(),
            validation_workers: 2,
            watermark_gamma: 0.5,
            watermark_delta: 2.0,
            lame_duck: 0,
            graceful_termination_timeout: 1,
        },
        grammar: GrammarConfig::default(),
    }
}
