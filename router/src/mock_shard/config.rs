//! The configuration of a router over a mock shard.

use std::path::PathBuf;

use crate::config::{
    Dtype, EngineConfig, ExecutorKind, GrammarConfig, HttpLimits, KvCacheDtype, Limits,
    ModelConfig, RouterConfig, ServeConfig,
};

/// A router's configuration with the defaults of the launcher; the shard answers at
/// `shard_address`. A stop takes no longer than 10 seconds and is not announced.
#[must_use]
pub fn config(shard_address: &str) -> ServeConfig {
    ServeConfig {
        model: model(),
        engine: engine(),
        router: RouterConfig {
            hostname: "127.0.0.1".into(),
            port: 0,
            shard_address: shard_address.into(),
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
            graceful_termination_timeout: 10,
        },
        grammar: GrammarConfig::default(),
    }
}

/// The shard's share, which neither a router nor a mock shard reads.
fn model() -> ModelConfig {
    ModelConfig {
        model_id: super::info().model_id,
        revision: None,
        executor: ExecutorKind::Auto,
        dtype: Dtype::Auto,
        quantize: None,
        kv_cache_dtype: KvCacheDtype::Auto,
        tokenizer_config_path: None,
        hub_cache: None,
        cache_dir: None,
    }
}

fn engine() -> EngineConfig {
    EngineConfig {
        run_dir: PathBuf::new(),
        num_shard: 1,
        master_addr: "127.0.0.1".into(),
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
    }
}
