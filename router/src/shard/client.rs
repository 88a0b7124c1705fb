//! Calls to the shard, each with its deadline.

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::session::Session;
use crate::PROTOCOL_VERSION;
use crate::pb;
use crate::pb::engine_client::EngineClient;

const SERVICE: &str = "text_generation_server.v1.Engine";
const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;
/// Events that may be on the way before the shard has to wait.
const WINDOW_BYTES: u32 = 4 * 1024 * 1024;
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
const HEALTH_DEADLINE: Duration = Duration::from_secs(1);
const INFO_DEADLINE: Duration = Duration::from_secs(10);
const ASSETS_DEADLINE: Duration = Duration::from_secs(60);
const SERVE_DEADLINE: Duration = Duration::from_secs(10);

/// Why the shard cannot be used now.
#[derive(Debug, thiserror::Error)]
pub(super) enum ShardFault {
    #[error("it cannot be reached: {0}")]
    Connect(String),
    #[error("{call} failed: {reason}")]
    Call { call: &'static str, reason: String },
    #[error("{call} took longer than {} s", .limit.as_secs())]
    Deadline { call: &'static str, limit: Duration },
    #[error("it is not serving")]
    NotServing,
    #[error("it speaks protocol {0}, this router {PROTOCOL_VERSION}: install both of one version")]
    Protocol(u32),
    #[error("it sent an asset that cannot be used: {0}")]
    Asset(String),
    #[error("it ended the stream of requests")]
    StreamEnded,
}

/// A connection to the shard.
#[derive(Debug, Clone)]
pub(super) struct ShardClient {
    engine: EngineClient<Channel>,
    health: HealthClient<Channel>,
}

/// The address as the transport wants it, if it is one.
pub(crate) fn endpoint(address: &str) -> Result<Endpoint, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(address.to_owned())?;
    Ok(endpoint
        .connect_timeout(CONNECT_DEADLINE)
        .tcp_nodelay(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(2 * WINDOW_BYTES))
}

impl ShardClient {
    pub(super) async fn connect(endpoint: &Endpoint) -> Result<Self, ShardFault> {
        let channel = endpoint.connect().await;
        // The outer error says only "transport error".
        let reason = |error: tonic::transport::Error| match error.source() {
            Some(source) => source.to_string(),
            None => error.to_string(),
        };
        let channel = channel.map_err(|error| ShardFault::Connect(reason(error)))?;
        let engine = EngineClient::new(channel.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Ok(Self {
            engine,
            health: HealthClient::new(channel),
        })
    }

    /// Whether the shard takes requests.
    pub(super) async fn check_health(&self) -> Result<(), ShardFault> {
        let mut client = self.health.clone();
        let request = HealthCheckRequest {
            service: SERVICE.to_owned(),
        };
        let call = client.check(request);
        let reply = within("the health check", HEALTH_DEADLINE, call)
            .await?
            .into_inner();
        if reply.status == ServingStatus::Serving as i32 {
            Ok(())
        } else {
            Err(ShardFault::NotServing)
        }
    }

    /// Facts about the model.
    pub(super) async fn info(&self) -> Result<pb::EngineInfo, ShardFault> {
        let mut client = self.engine.clone();
        let info = within("Info", INFO_DEADLINE, client.info(pb::InfoRequest {})).await?;
        let info = info.into_inner();
        if info.protocol_version == PROTOCOL_VERSION {
            Ok(info)
        } else {
            Err(ShardFault::Protocol(info.protocol_version))
        }
    }

    /// The model's files by name.
    pub(super) async fn assets(&self) -> Result<HashMap<String, Vec<u8>>, ShardFault> {
        let mut client = self.engine.clone();
        within("Assets", ASSETS_DEADLINE, async {
            let mut chunks = client.assets(pb::AssetsRequest {}).await?.into_inner();
            let mut assets = HashMap::<String, Vec<u8>>::new();
            while let Some(chunk) = chunks.message().await? {
                assets.entry(chunk.name).or_default().extend(chunk.data);
            }
            Ok(assets)
        })
        .await
    }

    /// Opens the stream of requests; `end` is cancelled when either side lets it go.
    pub(super) async fn serve(&self, end: CancellationToken) -> Result<Session, ShardFault> {
        let mut client = self.engine.clone();
        let (commands, outbound) = mpsc::channel(1);
        let hello = pb::Hello {
            protocol_version: PROTOCOL_VERSION,
        };
        let hello = pb::router_command::Command::Hello(hello);
        let first = pb::RouterCommand {
            command: Some(hello),
        };
        commands.try_send(first).expect("the channel is empty");
        let call = client.serve(Request::new(ReceiverStream::new(outbound)));
        let events = within("Serve", SERVE_DEADLINE, call).await?.into_inner();
        Ok(Session::new(commands, events, end))
    }
}

async fn within<T>(
    call: &'static str,
    limit: Duration,
    reply: impl Future<Output = Result<T, Status>>,
) -> Result<T, ShardFault> {
    match timeout(limit, reply).await {
        Ok(reply) => reply.map_err(|status| {
            let reason = format!("{}: {}", status.code(), status.message());
            ShardFault::Call { call, reason }
        }),
        Err(_) => Err(ShardFault::Deadline { call, limit }),
    }
}
