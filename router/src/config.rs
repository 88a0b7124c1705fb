//! `ServeConfig`: everything the operator decided, resolved and validated, as one value.
//!
//! The launcher makes it from flags and environment, writes it to one JSON file in the run
//! directory (mode 0600, without secrets) and hands it on: the router takes it by value, each shard
//! reads the file. Nothing here knows about argv, and nothing here is changed after `validate`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::keys::TenantKey;

/// The whole configuration of one server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServeConfig {
    /// What is served.
    pub model: ModelConfig,
    /// How the shards compute; read by the shards.
    pub engine: EngineConfig,
    /// How requests come in; read by the router.
    pub router: RouterConfig,
    /// Bounds on grammars; read by both.
    pub grammar: GrammarConfig,
}

/// The model and the way to run it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Alias, local directory, local GGUF file or hub id.
    pub model_id: String,
    /// Commit, branch or tag on the hub.
    pub revision: Option<String>,
    /// Which executor runs the model.
    pub executor: ExecutorKind,
    /// Type of unquantized weights.
    pub dtype: Dtype,
    /// How the weights are quantized; `None` means as the source is.
    pub quantize: Option<Quantize>,
    /// Type of keys and values in the cache.
    pub kv_cache_dtype: KvCacheDtype,
    /// A `tokenizer_config.json` whose chat template replaces the model's own.
    pub tokenizer_config_path: Option<PathBuf>,
    /// Folder of the hub cache; `None` means the hub library's own default.
    pub hub_cache: Option<PathBuf>,
    /// Folder for what the shard derives from a model's files (packed weights, tokenizers); `None`
    /// means that nothing is kept.
    pub cache_dir: Option<PathBuf>,
}

/// Executor choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExecutorKind {
    /// Native, or torch for what native does not compute.
    Auto,
    /// The CPU kernels of this package.
    Native,
    /// PyTorch.
    Torch,
    /// The exact integer model of the tests: no weights, real tokenizer.
    Oracle,
}

/// Numeric type choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// The executor's choice: what the source is for native, float32 for torch.
    Auto,
    /// 32 bits.
    Float32,
    /// 16 bits, 8 of exponent.
    Bfloat16,
    /// 16 bits, 5 of exponent.
    Float16,
}

/// Quantization of the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quantize {
    /// 8 bits, made at load from any source.
    Int8,
    /// 4 bits, made at load from any source.
    Int4,
    /// 4 bits, as the model's folder says.
    Awq,
    /// 4 bits, as the model's folder says.
    Gptq,
}

/// Numeric type of keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KvCacheDtype {
    /// bf16 for native, the weights' type for torch.
    Auto,
    /// 16 bits, 8 of exponent.
    Bf16,
    /// 8 bits, quantized when written.
    Int8,
}

/// The shard's share of the configuration. `None` means: the shard decides from model and machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineConfig {
    /// Mode-0700 folder of this server's sockets; rank r listens on `shard-{r}.sock`.
    pub run_dir: PathBuf,
    /// Ranks that run the model together.
    pub num_shard: u32,
    /// Address and port at which the ranks of one replica meet.
    pub master_addr: String,
    /// See `master_addr`.
    pub master_port: u16,
    /// Longest prompt, in tokens.
    pub max_input_tokens: Option<u32>,
    /// Longest prompt and answer together, in tokens.
    pub max_total_tokens: Option<u32>,
    /// Most sequences in one step.
    pub max_batch_size: u32,
    /// Most tokens one step computes: decode rows first, prefill chunks in what is left.
    pub max_batch_prefill_tokens: u32,
    /// Tokens of KV the page pool holds; goes before `kv_memory_bytes`.
    pub max_batch_total_tokens: Option<u32>,
    /// Bytes of the page pool; `None` means half of the memory that is available after loading.
    pub kv_memory_bytes: Option<u64>,
    /// Whether KV is kept for later requests.
    pub prefix_caching: bool,
    /// Tokens in a page, for executors that leave the choice (tests); `None` means the executor's.
    pub page_tokens: Option<u32>,
    /// Compute threads; `None` means the cores this process may use.
    pub num_threads: Option<u32>,
}

/// The router's share of the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouterConfig {
    /// Address to listen on.
    pub hostname: String,
    /// Port to listen on; 0 takes a free one.
    pub port: u16,
    /// Where rank 0 answers gRPC: `unix:/path` or `http://host:port`.
    pub shard_address: String,
    /// Keys of which clients need one, beside those of the file.
    #[serde(skip)]
    pub api_keys: Vec<TenantKey>,
    /// File of `tenant:key` lines; read again at SIGHUP.
    pub api_keys_file: Option<PathBuf>,
    /// Whether `/metrics` needs no key where other routes do.
    pub open_metrics: bool,
    /// Origins that browsers may call from; empty means any.
    pub cors_allow_origin: Vec<String>,
    /// Bounds on requests.
    pub limits: Limits,
    /// Bounds on connections.
    pub http: HttpLimits,
    /// Where traces are sent to, as OTLP over gRPC: `http://host:port`; `None` traces nothing.
    pub otlp_endpoint: Option<String>,
    /// Name of this server in its traces.
    pub otlp_service_name: String,
    /// Threads that tokenize.
    pub validation_workers: usize,
    /// Share of the vocabulary that a watermark favours behind each token.
    pub watermark_gamma: f32,
    /// What a watermark adds to the favoured tokens' logits.
    pub watermark_delta: f32,
    /// Seconds after SIGTERM in which the server says that it is not ready, and still takes
    /// requests: load balancers look away meanwhile. Part of `graceful_termination_timeout`.
    pub lame_duck: u64,
    /// How long a stop may take after SIGTERM, in seconds.
    pub graceful_termination_timeout: u64,
}

impl RouterConfig {
    /// Whether clients need a key.
    #[must_use]
    pub fn needs_keys(&self) -> bool {
        !self.api_keys.is_empty() || self.api_keys_file.is_some()
    }
}

/// Bounds on what a request may ask for and on how many are held at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Requests in the server at once, waiting ones included; one more is refused with 429.
    pub max_concurrent_requests: usize,
    /// Prompt tokens that may wait in the queue; beyond it requests are refused with 429.
    pub max_queued_tokens: usize,
    /// Longest wait in the queue, in seconds.
    pub max_queue_seconds: u64,
    /// Answers drawn for one native request.
    pub max_best_of: u32,
    /// Stop strings of one request.
    pub max_stop_sequences: usize,
    /// Bytes of one stop string.
    pub max_stop_bytes: usize,
    /// Most likely tokens reported at each position.
    pub max_top_n_tokens: u32,
    /// Prompts of one completion request.
    pub max_client_batch_size: usize,
    /// Answers to one prompt (`n`).
    pub max_n: u32,
    /// Messages of one chat request.
    pub max_messages: usize,
    /// Tools of one chat request.
    pub max_tools: usize,
    /// Bytes of their definitions together, as JSON.
    pub max_tool_bytes: usize,
    /// Tokens that one request may bias.
    pub max_logit_bias: usize,
    /// Work of rendering one conversation, in instructions of the chat template or 64 bytes of text.
    pub max_template_fuel: u64,
    /// Bytes of a rendered conversation.
    pub max_template_bytes: usize,
    /// Responses kept for `/v1/responses`; the oldest makes room. 0 keeps none.
    pub max_stored_responses: usize,
    /// Bytes of them together, conversations included.
    pub max_stored_response_bytes: usize,
    /// Longest life of a request, in seconds.
    pub request_timeout: u64,
}

/// Whether answers can be made to follow a grammar, and bounds on grammars.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrammarConfig {
    /// Whether requests may bring a grammar.
    pub grammar_support: bool,
    /// Bytes of a schema, an expression or a grammar as it was sent.
    pub max_grammar_bytes: usize,
    /// Longest time that making a parser of it may take, in milliseconds.
    pub max_grammar_compile_ms: u64,
    /// Symbols in the productions of its parser.
    pub max_grammar_size: usize,
    /// Work of building its lexer, in nodes of regular expressions.
    pub max_grammar_fuel: u64,
    /// States of its lexer, 1 to 2 kB each.
    pub max_grammar_lexer_states: usize,
    /// Items that its parser may make for one token's mask.
    pub max_grammar_step_items: usize,
    /// Bytes of checked grammars that the router remembers.
    pub grammar_cache_bytes: u64,
}

/// Bounds on connections and bodies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpLimits {
    /// Body bytes; one more is refused with 413.
    pub payload_limit: usize,
    /// Body bytes of all requests being read together.
    pub max_body_bytes_in_flight: usize,
    /// Open connections.
    pub max_connections: usize,
    /// Bytes of the header section.
    pub max_header_bytes: usize,
    /// Header lines.
    pub max_headers: usize,
    /// Seconds for the whole header section.
    pub header_timeout: u64,
    /// Seconds for the whole body.
    pub body_timeout: u64,
    /// Bytes a second that a body must bring on average, once it took 5 seconds.
    pub min_body_rate: usize,
    /// How deep the arrays and objects of a body may nest.
    pub max_json_depth: usize,
    /// Events that a client may leave unread before it counts as behind.
    pub max_unread_events: usize,
    /// Seconds a client may be behind before its request is cancelled.
    pub write_stall_timeout: u64,
}

/// A text that no log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Whether a client can send it as the token of a header.
    #[must_use]
    pub fn is_sendable(&self) -> bool {
        !self.0.is_empty() && self.0.bytes().all(|byte| byte.is_ascii_graphic())
    }

    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[secret]")
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_concurrent_requests: 512,
            max_queued_tokens: 4_000_000,
            max_queue_seconds: 60,
            max_best_of: 2,
            max_stop_sequences: 4,
            max_stop_bytes: 256,
            max_top_n_tokens: 20,
            max_client_batch_size: 4,
            max_n: 8,
            max_messages: 1024,
            max_tools: 128,
            max_tool_bytes: 256 * 1024,
            max_logit_bias: 300,
            max_template_fuel: 2_000_000,
            max_template_bytes: 16 * 1024 * 1024,
            max_stored_responses: 10_000,
            max_stored_response_bytes: 64 * 1024 * 1024,
            request_timeout: 1800,
        }
    }
}

impl Default for GrammarConfig {
    fn default() -> Self {
        Self {
            grammar_support: true,
            max_grammar_bytes: 64 * 1024,
            max_grammar_compile_ms: 250,
            max_grammar_size: 500_000,
            max_grammar_fuel: 200_000,
            max_grammar_lexer_states: 50_000,
            max_grammar_step_items: 20_000,
            grammar_cache_bytes: 64 * 1024 * 1024,
        }
    }
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            payload_limit: 4 * 1024 * 1024,
            max_body_bytes_in_flight: 64 * 1024 * 1024,
            max_connections: 10_000,
            max_header_bytes: 32 * 1024,
            max_headers: 100,
            header_timeout: 10,
            body_timeout: 30,
            min_body_rate: 1024,
            max_json_depth: 64,
            max_unread_events: 512,
            write_stall_timeout: 30,
        }
    }
}
