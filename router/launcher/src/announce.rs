//! What the launcher tells its operator: the plan, then the address and a line to try.

use std::io::{self, Write};
use std::net::SocketAddr;

use bytesize::ByteSize;
use text_generation_router::config::{ExecutorKind, ServeConfig};
use text_generation_router::model::AppState;
use text_generation_router::pb::EngineInfo;
use text_generation_router::serve::{Readiness, connection_places};
use tokio::sync::watch;

/// Logs what is about to be started.
pub fn plan(config: &ServeConfig, address: SocketAddr) {
    let model = &config.model;
    tracing::info!(
        model_id = model.model_id,
        executor = ?model.executor,
        dtype = ?model.dtype,
        quantize = model.quantize.map(tracing::field::debug),
        kv_cache_dtype = ?model.kv_cache_dtype,
        shards = config.engine.num_shard,
        max_connections = connection_places(config.router.http.max_connections),
        %address,
        "loading the model"
    );
    if model.executor == ExecutorKind::Oracle {
        tracing::warn!("the oracle executor is for tests: its answers are words without meaning");
    }
    if !address.ip().is_loopback() && !config.router.needs_keys() {
        tracing::warn!("{address} is reachable from other machines and no API_KEY is set");
    }
}

/// Waits until the model can be used, then says what it is and where.
pub async fn readiness(
    mut readiness: watch::Receiver<Readiness>,
    state: AppState,
    address: SocketAddr,
) {
    if readiness
        .wait_for(|now| *now == Readiness::Ready)
        .await
        .is_err()
    {
        return;
    }
    if let Ok(model) = state.model() {
        facts(&model.info);
    }
    // A closed standard output is no reason to stop serving.
    let _ = write_invitation(&mut io::stdout().lock(), address);
}

/// Logs what the shard found and decided.
fn facts(info: &EngineInfo) {
    let kv = ByteSize(u64::from(info.num_pages) * info.page_bytes);
    tracing::info!(
        model_id = info.model_id,
        executor = info.executor,
        device = info.device,
        hardware = info.hardware,
        weights = info.weights,
        kv_dtype = info.kv_dtype,
        kv_memory = %kv,
        kv_tokens = u64::from(info.num_pages) * u64::from(info.page_tokens),
        max_input_tokens = info.max_input_tokens,
        max_total_tokens = info.max_total_tokens,
        max_batch_size = info.max_batch_size,
        max_step_tokens = info.max_step_tokens,
        "the model is ready"
    );
}

fn write_invitation(out: &mut impl Write, address: SocketAddr) -> io::Result<()> {
    let url = format!("http://{}", reachable(address));
    writeln!(out, "\nready at {url}, documented at {url}/docs; try\n")?;
    writeln!(
        out,
        "  curl {url}/generate -H 'content-type: application/json' \\\n    \
         -d '{{\"inputs\": \"The capital of France is\", \"parameters\": {{\"max_new_tokens\": 20}}}}'\n"
    )
}

/// An address that a client on this machine can use: "every interface" is none.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_to_try_is_a_command_that_names_a_reachable_address() {
        let mut text = Vec::new();
        let address = "0.0.0.0:3000".parse().expect("an address");
        write_invitation(&mut text, address).expect("memory takes all");
        let text = String::from_utf8(text).expect("text");
        assert!(
            text.contains("curl http://127.0.0.1:3000/generate"),
            "{text}"
        );
        assert!(text.contains(r#"-d '{"inputs": "The capital"#), "{text}");
    }
}
