//! The mock's gRPC calls.

use std::sync::Arc;

use futures::stream::{BoxStream, iter};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::Shared;
use super::engine::Engine;
use crate::PROTOCOL_VERSION;
use crate::pb;
use crate::pb::router_command::Command;

/// Events that may wait for the router before the mock's engine waits too.
const EVENTS: usize = 64;
const CHUNK_BYTES: usize = 1 << 20;

#[derive(Clone)]
pub(super) struct Service(pub(super) Arc<Shared>);

#[tonic::async_trait]
impl pb::engine_server::Engine for Service {
    type AssetsStream = BoxStream<'static, Result<pb::AssetChunk, Status>>;
    type ServeStream = ReceiverStream<Result<pb::EngineEvent, Status>>;

    async fn info(
        &self,
        _request: Request<pb::InfoRequest>,
    ) -> Result<Response<pb::EngineInfo>, Status> {
        Ok(Response::new(self.0.options.info.clone()))
    }

    async fn assets(
        &self,
        _request: Request<pb::AssetsRequest>,
    ) -> Result<Response<Self::AssetsStream>, Status> {
        let chunks = self.0.options.assets.iter().flat_map(|(name, data)| {
            let chunk = |data: &[u8]| pb::AssetChunk {
                name: name.clone(),
                data: data.to_vec(),
            };
            data.chunks(CHUNK_BYTES).map(chunk)
        });
        let chunks: Vec<_> = chunks.map(Ok).collect();
        Ok(Response::new(Box::pin(iter(chunks))))
    }

    async fn serve(
        &self,
        request: Request<Streaming<pb::RouterCommand>>,
    ) -> Result<Response<Self::ServeStream>, Status> {
        let mut commands = request.into_inner();
        let first = commands.message().await?.and_then(|first| first.command);
        let Some(Command::Hello(pb::Hello {
            protocol_version: PROTOCOL_VERSION,
        })) = first
        else {
            return Err(Status::failed_precondition(
                "the first command must be this hello",
            ));
        };
        self.0.seen().streams += 1;
        let (events, outbound) = mpsc::channel(EVENTS);
        tokio::spawn(Engine::new(Arc::clone(&self.0), events).run(commands));
        Ok(Response::new(ReceiverStream::new(outbound)))
    }
}

#[tonic::async_trait]
impl Health for Service {
    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        _request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if self.0.dead.is_cancelled() {
            return Err(Status::unavailable("killed"));
        }
        let status = if *self.0.serving.borrow() {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        Ok(Response::new(HealthCheckResponse {
            status: status as i32,
        }))
    }

    async fn watch(
        &self,
        _request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("the mock has no watch"))
    }
}
