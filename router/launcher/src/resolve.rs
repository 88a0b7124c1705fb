//! `Args` to `ServeConfig`: every rule about values, checked together, without I/O.

use std::fmt::{self, Display};
use std::path::Path;

use http::HeaderValue;
use text_generation_router::config::{
    Dtype, EngineConfig, ExecutorKind, GrammarConfig, HttpLimits, KvCacheDtype, Limits,
    ModelConfig, RouterConfig, ServeConfig,
};
use text_generation_router::keys::TenantKey;

use crate::args::{Args, EngineArgs, GrammarArgs, ModelArgs, ServerArgs};
use crate::parse::Parsed;

#[cfg(test)]
mod tests;

/// Bytes that fit into a Unix socket's address, the closing zero apart.
const MAX_SOCKET_PATH: usize = 107;

/// Every mistake in the arguments, so that the operator mends all of them in one go.
#[derive(Debug, Clone, Default)]
pub struct Mistakes(pub(crate) Vec<String>);

impl Mistakes {
    /// Adds one.
    pub(crate) fn add(&mut self, mistake: String) {
        self.0.push(mistake);
    }

    fn check(&mut self, ok: bool, mistake: impl FnOnce() -> String) {
        if !ok {
            self.0.push(mistake());
        }
    }

    fn ordered(&mut self, (low, small): (&str, Option<u32>), (high, large): (&str, Option<u32>)) {
        if let (Some(small), Some(large)) = (small, large) {
            self.check(small <= large, || {
                format!("{low} is {small}, above {high}, which is {large}: lower the one or raise the other")
            });
        }
    }
}

impl Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}

/// Turns arguments into the server's configuration. `run_dir` is the folder of its sockets.
///
/// # Errors
/// All mistakes found, not the first alone.
pub fn resolve(parsed: Parsed, run_dir: &Path) -> Result<ServeConfig, Mistakes> {
    let mistakes = find_mistakes(&parsed.args, run_dir, parsed.mistakes);
    if mistakes.0.is_empty() {
        Ok(into_config(parsed.args, run_dir))
    } else {
        Err(mistakes)
    }
}

/// Those found while parsing, then those against rules that span flags.
fn find_mistakes(args: &Args, run_dir: &Path, mut mistakes: Mistakes) -> Mistakes {
    mistakes.0.extend(args.tgi.mistakes());
    check_texts(args, &mut mistakes);
    check_model(&args.model, &mut mistakes);
    check_engine(&args.engine, &mut mistakes);
    check_limits(args, &mut mistakes);
    let socket_bytes = socket_path(run_dir).len();
    mistakes.check(socket_bytes <= MAX_SOCKET_PATH, || {
        format!(
            "the path of the shard's socket under {} has {socket_bytes} bytes, limit is \
             {MAX_SOCKET_PATH}: set TMPDIR to a shorter path",
            run_dir.display()
        )
    });
    mistakes
}

fn check_texts(args: &Args, mistakes: &mut Mistakes) {
    let texts = [
        ("--model-id", Some(&args.model.model_id)),
        ("--revision", args.model.revision.as_ref()),
        ("--hostname", Some(&args.server.hostname)),
        ("--master-addr", Some(&args.engine.master_addr)),
    ];
    for (flag, text) in texts {
        mistakes.check(text.is_none_or(|text| !text.trim().is_empty()), || {
            format!("{flag} is empty: give a value or leave it out")
        });
    }
    if let Err(mistake) = api_keys(&args.server) {
        mistakes.check(false, || mistake);
    }
    if let Some(endpoint) = &args.server.otlp_endpoint {
        mistakes.check(is_plain_url(endpoint), || {
            format!(
                "--otlp-endpoint is {endpoint:?}: give the collector's http://host:port; for TLS, \
                 have a collector on this machine pass the traces on"
            )
        });
    }
    for origin in &args.server.cors_allow_origin {
        mistakes.check(is_origin(origin), || {
            format!("--cors-allow-origin is {origin:?}: give scheme://host or scheme://host:port")
        });
    }
}

/// Keys given outside the file.
fn api_keys(server: &ServerArgs) -> Result<Vec<TenantKey>, String> {
    let mut keys = Vec::new();
    if let Some(key) = &server.api_key {
        let key = TenantKey::of_default_tenant(key.expose());
        keys.push(key.map_err(|mistake| format!("--api-key: {mistake}"))?);
    }
    if let Some(text) = &server.api_keys {
        let more = TenantKey::parse_all(text.expose());
        keys.extend(more.map_err(|mistake| format!("--api-keys: {mistake}"))?);
    }
    Ok(keys)
}

/// What no model can make right; the shard checks what depends on the executor it takes.
fn check_model(model: &ModelArgs, mistakes: &mut Mistakes) {
    let (executor, dtype) = (model.executor, model.dtype);
    let only_torch = matches!(dtype, Dtype::Float32 | Dtype::Float16);
    mistakes.check(executor != ExecutorKind::Native || !only_torch, || {
        "--executor native computes in bfloat16 only: leave out --dtype, or take --executor torch"
            .to_owned()
    });
    mistakes.check(model.quantize.is_none() || dtype == Dtype::Auto, || {
        "--quantize and --dtype contradict each other, for --dtype means unquantized weights: give \
         one of them"
            .to_owned()
    });
    let only_native = model.quantize.is_some() || model.kv_cache_dtype == KvCacheDtype::Int8;
    mistakes.check(executor != ExecutorKind::Torch || !only_native, || {
        "--executor torch quantizes nothing: leave out --quantize and --kv-cache-dtype, or take \
         --executor native"
            .to_owned()
    });
}

/// Whether it is an address of HTTP without TLS.
fn is_plain_url(text: &str) -> bool {
    let url = text.parse::<http::Uri>();
    url.is_ok_and(|url| url.scheme_str() == Some("http") && url.authority().is_some())
}

/// Whether a browser would send this text as an `Origin` header.
fn is_origin(text: &str) -> bool {
    let host = text.split_once("://").map(|(_, host)| host);
    HeaderValue::from_str(text).is_ok()
        && host.is_some_and(|host| !host.is_empty() && !host.contains('/'))
}

fn check_engine(engine: &EngineArgs, mistakes: &mut Mistakes) {
    mistakes.check(
        engine.max_input_tokens.is_none() || engine.max_input_length.is_none(),
        || {
            "--max-input-tokens and --max-input-length mean the same: give the first alone"
                .to_owned()
        },
    );
    mistakes.check(
        engine
            .sharded
            .is_none_or(|sharded| sharded == (engine.num_shard > 1)),
        || {
            format!(
                "--sharded is {}, but --num-shard is {}: leave out --sharded",
                engine.sharded.unwrap_or_default(),
                engine.num_shard
            )
        },
    );
    let input = max_input_tokens(engine);
    let (total, held) = (engine.max_total_tokens, engine.max_batch_total_tokens);
    if let (Some(input), Some(total)) = (input, total) {
        mistakes.check(input < total, || {
            format!(
                "--max-input-tokens is {input} and --max-total-tokens {total}, which leaves no \
                 token to generate: lower the first or raise the second"
            )
        });
    }
    mistakes.ordered(
        ("--max-total-tokens", total),
        ("--max-batch-total-tokens", held),
    );
}

fn check_limits(args: &Args, mistakes: &mut Mistakes) {
    let (http, server) = (&args.http, &args.server);
    let (gamma, delta) = (server.watermark_gamma, server.watermark_delta);
    mistakes.check(gamma > 0.0 && gamma < 1.0, || {
        format!("--watermark-gamma is {gamma}: give a number between 0 and 1")
    });
    mistakes.check(delta >= 0.0 && delta.is_finite(), || {
        format!("--watermark-delta is {delta}: give a number from 0")
    });
    let (lame_duck, grace) = (server.lame_duck, server.graceful_termination_timeout);
    mistakes.check(lame_duck <= grace, || {
        format!(
            "--lame-duck is {lame_duck}, above --graceful-termination-timeout, which is {grace}: \
             lower the one or raise the other"
        )
    });
    mistakes.check(http.payload_limit <= http.max_body_bytes_in_flight, || {
        format!(
            "--payload-limit is {}, above --max-body-bytes-in-flight, which is {}: one body must \
             fit into the bound on all",
            http.payload_limit, http.max_body_bytes_in_flight
        )
    });
}

fn max_input_tokens(engine: &EngineArgs) -> Option<u32> {
    engine.max_input_tokens.or(engine.max_input_length)
}

/// Socket of the rank that answers the router.
fn socket_path(run_dir: &Path) -> String {
    run_dir.join("shard-0.sock").display().to_string()
}

fn into_config(args: Args, run_dir: &Path) -> ServeConfig {
    // Mistakes in them were found before.
    let api_keys = api_keys(&args.server).unwrap_or_default();
    ServeConfig {
        engine: engine_config(&args.engine, run_dir),
        grammar: grammar_config(&args.grammar),
        model: ModelConfig {
            cache_dir: args.model.cache_dir(),
            model_id: args.model.model_id,
            revision: args.model.revision,
            executor: args.model.executor,
            dtype: args.model.dtype,
            quantize: args.model.quantize,
            kv_cache_dtype: args.model.kv_cache_dtype,
            tokenizer_config_path: args.model.tokenizer_config_path,
            hub_cache: args.model.huggingface_hub_cache,
        },
        router: RouterConfig {
            hostname: args.server.hostname,
            port: args.server.port,
            shard_address: format!("unix:{}", socket_path(run_dir)),
            api_keys,
            api_keys_file: args.server.api_keys_file,
            open_metrics: args.server.open_metrics,
            cors_allow_origin: args.server.cors_allow_origin,
            limits: Limits {
                max_concurrent_requests: args.limits.max_concurrent_requests,
                max_queued_tokens: args.limits.max_queued_tokens,
                max_queue_seconds: args.limits.max_queue_seconds,
                max_best_of: args.limits.max_best_of,
                max_stop_sequences: args.limits.max_stop_sequences,
                max_stop_bytes: args.limits.max_stop_bytes,
                max_top_n_tokens: args.limits.max_top_n_tokens,
                max_client_batch_size: args.limits.max_client_batch_size,
                max_messages: args.limits.max_messages,
                max_stored_responses: args.limits.max_stored_responses,
                max_stored_response_bytes: args.limits.max_stored_response_bytes,
                request_timeout: args.limits.request_timeout,
            },
            http: HttpLimits {
                payload_limit: args.http.payload_limit,
                max_body_bytes_in_flight: args.http.max_body_bytes_in_flight,
                max_connections: args.http.max_connections,
                max_header_bytes: args.http.max_header_bytes,
                max_headers: args.http.max_headers,
                header_timeout: args.http.header_timeout,
                body_timeout: args.http.body_timeout,
                write_stall_timeout: args.http.write_stall_timeout,
            },
            otlp_endpoint: args.server.otlp_endpoint,
            otlp_service_name: args.server.otlp_service_name,
            validation_workers: args.server.validation_workers,
            watermark_gamma: args.server.watermark_gamma,
            watermark_delta: args.server.watermark_delta,
            lame_duck: args.server.lame_duck,
            graceful_termination_timeout: args.server.graceful_termination_timeout,
        },
    }
}

fn grammar_config(grammar: &GrammarArgs) -> GrammarConfig {
    GrammarConfig {
        grammar_support: !grammar.disable_grammar_support,
        max_grammar_bytes: grammar.max_grammar_bytes,
        max_grammar_compile_ms: grammar.max_grammar_compile_ms,
        max_grammar_size: grammar.max_grammar_size,
        max_grammar_fuel: grammar.max_grammar_fuel,
        max_grammar_lexer_states: grammar.max_grammar_lexer_states,
        grammar_cache_bytes: grammar.grammar_cache.0,
    }
}

fn engine_config(engine: &EngineArgs, run_dir: &Path) -> EngineConfig {
    EngineConfig {
        run_dir: run_dir.to_owned(),
        num_shard: engine.num_shard,
        master_addr: engine.master_addr.clone(),
        master_port: engine.master_port,
        max_input_tokens: max_input_tokens(engine),
        max_total_tokens: engine.max_total_tokens,
        max_batch_size: engine.max_batch_size,
        max_batch_prefill_tokens: engine.max_batch_prefill_tokens,
        max_batch_total_tokens: engine.max_batch_total_tokens,
        kv_memory_bytes: engine.kv_memory.map(|size| size.0),
        prefix_caching: engine.prefix_caching,
        page_tokens: engine.page_tokens,
        num_threads: engine.num_threads,
    }
}
