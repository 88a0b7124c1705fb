//! What the operator typed: flags and environment variables, with no rule that spans two of them.
//!
//! Every flag is also an environment variable in upper snake case. That of `--hostname` is
//! `LISTEN_HOSTNAME`: container engines set `HOSTNAME` to the container's id. Rules live in [`crate::resolve`].

use std::ffi::OsStr;
use std::marker::PhantomData;
use std::path::PathBuf;

use bytesize::ByteSize;
use clap::builder::{BoolishValueParser, PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command, Error, Parser};
use etcetera::BaseStrategy;
use etcetera::base_strategy::Xdg;
use serde::de::DeserializeOwned;
use text_generation_router::config::{Dtype, ExecutorKind, KvCacheDtype, Quantize, Secret};
use tracing_subscriber::filter::Targets;

use crate::error::EXIT_CODES;
use crate::tgi::TgiArgs;

mod limits;

pub(crate) use limits::{GrammarArgs, HttpArgs, LimitArgs};

/// Serve a language model over HTTP.
///
/// Started without flags it serves a small model that is installed beside it, on
/// 127.0.0.1:3000. Every flag is also an environment variable in upper snake case
/// (`--max-batch-size` is `MAX_BATCH_SIZE`; `--hostname` is `LISTEN_HOSTNAME`).
#[derive(Debug, Clone, Parser)]
#[command(name = "text-generation-launcher", version, max_term_width = 100,
          after_long_help = exit_codes())]
pub struct Args {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    #[command(flatten)]
    pub(crate) grammar: GrammarArgs,
    #[command(flatten)]
    pub(crate) http: HttpArgs,
    /// The launcher's own behaviour.
    #[command(flatten)]
    pub process: ProcessArgs,
    #[command(flatten)]
    pub(crate) action: ActionArgs,
    #[command(flatten)]
    pub(crate) tgi: TgiArgs,
}

impl Args {
    /// What the launch is for.
    #[must_use]
    pub fn action(&self) -> Action {
        let ActionArgs {
            env,
            print_config,
            dry_run,
        } = self.action;
        let wanted = [
            (env, Action::ReportEnvironment),
            (print_config, Action::PrintConfig),
            (dry_run, Action::DryRun),
        ];
        let first = wanted.into_iter().find(|(is_wanted, _)| *is_wanted);
        first.map_or(Action::Serve, |(_, action)| action)
    }

    /// One line on all flags and variables of TGI that were given in vain; none without any.
    #[must_use]
    pub fn notice(&self) -> Option<String> {
        self.tgi.notice()
    }
}

/// What is served.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct ModelArgs {
    /// Alias, local folder, local .gguf file or id on the Hugging Face Hub.
    #[arg(long, env, default_value = "smollm2-135m-instruct")]
    pub(crate) model_id: String,
    /// Commit, branch or tag on the hub.
    #[arg(long, env)]
    pub(crate) revision: Option<String>,
    /// Executor that runs the model; `auto` is native, or torch for what native does not compute;
    /// `oracle` is the exact test model without weights.
    #[arg(long, env, default_value = "auto",
          value_parser = one_of::<ExecutorKind>(&["auto", "native", "torch", "oracle"]))]
    pub(crate) executor: ExecutorKind,
    /// Type of unquantized weights; `auto` leaves quantized sources quantized. float32 and float16
    /// need the torch executor.
    #[arg(long, env, default_value = "auto",
          value_parser = one_of::<Dtype>(&["auto", "float32", "bfloat16", "float16"]))]
    pub(crate) dtype: Dtype,
    /// Quantize the weights at load: int8 or int4. By default they are what the source is; awq and
    /// gptq only confirm what a folder says itself.
    #[arg(long, env,
          value_parser = one_of::<Quantize>(&["int8", "int4", "awq", "gptq"]).else_try(TGI_QUANTIZE))]
    pub(crate) quantize: Option<Quantize>,
    /// Type of keys and values in the cache; `auto` is bf16, and the weights' type for torch.
    #[arg(long, env, default_value = "auto",
          value_parser = one_of::<KvCacheDtype>(&["auto", "bf16", "int8"]).else_try(TGI_KV_CACHE_DTYPE))]
    pub(crate) kv_cache_dtype: KvCacheDtype,
    /// A `tokenizer_config.json` whose chat template replaces the model's own.
    #[arg(long, env, value_name = "PATH")]
    pub(crate) tokenizer_config_path: Option<PathBuf>,
    /// Folder for downloads from the hub, instead of the hub library's own.
    #[arg(long, env, value_name = "PATH")]
    pub(crate) huggingface_hub_cache: Option<PathBuf>,
    /// Folder for packed weights and tokenizers. By default text-generation-server in the user's
    /// cache folder.
    #[arg(long, env, value_name = "PATH")]
    cache_dir: Option<PathBuf>,
}

impl ModelArgs {
    /// Folder for what is derived from a model's files; `None` for a user without a home.
    pub(crate) fn cache_dir(&self) -> Option<PathBuf> {
        let of_user = || Some(Xdg::new().ok()?.cache_dir().join("text-generation-server"));
        self.cache_dir.clone().or_else(of_user)
    }
}

/// How the server is reached.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct ServerArgs {
    /// Address to listen on; 0.0.0.0 takes every interface.
    #[arg(long, env = "LISTEN_HOSTNAME", default_value = "127.0.0.1")]
    pub(crate) hostname: String,
    /// Port to listen on; 0 takes a free one.
    #[arg(long, short, env, default_value_t = 3000)]
    pub(crate) port: u16,
    /// Key that clients send as `Authorization: Bearer KEY`. Prefer the environment variable:
    /// flags are visible to other users of the machine.
    #[arg(long, env, hide_env_values = true, value_parser = secret)]
    pub(crate) api_key: Option<Secret>,
    /// Keys of several tenants, as `tenant:key,tenant:key`. Prefer the environment variable here
    /// too, or --api-keys-file.
    #[arg(long, env, hide_env_values = true, value_parser = secret)]
    pub(crate) api_keys: Option<Secret>,
    /// File of `tenant:key` lines, readable by the server alone; read again at SIGHUP.
    #[arg(long, env, value_name = "PATH")]
    pub(crate) api_keys_file: Option<PathBuf>,
    /// Whether /metrics needs no key where other routes do.
    #[arg(long, env, default_value_t = false, action = ArgAction::Set, value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true",
          value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) open_metrics: bool,
    /// Origin that browsers may call from, such as https://example.org; repeatable. Any, if absent.
    #[arg(long, env, value_delimiter = ',', value_name = "ORIGIN")]
    pub(crate) cors_allow_origin: Vec<String>,
    /// Collector of traces, by OTLP over gRPC: http://host:port. Nothing is traced without.
    #[arg(long, env, value_name = "URL")]
    pub(crate) otlp_endpoint: Option<String>,
    /// Name of this server in its traces.
    #[arg(long, env, default_value = "text-generation-server")]
    pub(crate) otlp_service_name: String,
    /// Threads that tokenize.
    #[arg(long, env, default_value_t = 2)]
    pub(crate) validation_workers: usize,
    /// Share of the vocabulary that a watermark favours behind each token.
    #[arg(long, env, default_value_t = 0.5)]
    pub(crate) watermark_gamma: f32,
    /// What a watermark adds to the logits of the favoured tokens.
    #[arg(long, env, default_value_t = 2.0)]
    pub(crate) watermark_delta: f32,
    /// Seconds after SIGTERM in which /health/ready says 503 and requests are still taken, so that
    /// load balancers look away in time; SIGINT skips them.
    #[arg(long, env, default_value_t = 5)]
    pub(crate) lame_duck: u64,
    /// Seconds that running requests get to finish after SIGTERM, those of --lame-duck included.
    #[arg(long, short, env, default_value_t = 90)]
    pub(crate) graceful_termination_timeout: u64,
}

/// How the shards compute.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Engine")]
pub(crate) struct EngineArgs {
    /// Processes that run the model together.
    #[arg(long, env, default_value_t = 1)]
    pub(crate) num_shard: u32,
    /// Whether there are several: only checked against --num-shard.
    #[arg(long, env, value_name = "BOOL", value_parser = BoolishValueParser::new())]
    pub(crate) sharded: Option<bool>,
    /// Address at which the processes of one model meet.
    #[arg(long, env, default_value = "localhost")]
    pub(crate) master_addr: String,
    /// Port at which the processes of one model meet.
    #[arg(long, env, default_value_t = 29_500)]
    pub(crate) master_port: u16,
    /// Longest prompt, in tokens. By default what model and memory allow.
    #[arg(long, env)]
    pub(crate) max_input_tokens: Option<u32>,
    /// Older name of --max-input-tokens.
    #[arg(long, env, hide = true)]
    pub(crate) max_input_length: Option<u32>,
    /// Longest prompt and answer together, in tokens. By default what model and memory allow.
    #[arg(long, env)]
    pub(crate) max_total_tokens: Option<u32>,
    /// Most sequences in one step.
    #[arg(long, env, default_value_t = 128)]
    pub(crate) max_batch_size: u32,
    /// Most tokens in one step: one per running sequence, then chunks of waiting prompts.
    #[arg(long, env, default_value_t = 512)]
    pub(crate) max_batch_prefill_tokens: u32,
    /// Tokens of KV held at once, cached ones included; goes before --kv-memory.
    #[arg(long, env)]
    pub(crate) max_batch_total_tokens: Option<u32>,
    /// Memory for KV, such as 512MB or 2GiB. By default half of what loading leaves.
    #[arg(long, env, value_name = "SIZE")]
    pub(crate) kv_memory: Option<ByteSize>,
    /// Whether KV is kept for later requests that begin alike.
    #[arg(long, env, default_value_t = true, action = ArgAction::Set, value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true",
          value_parser = BoolishValueParser::new())]
    pub(crate) prefix_caching: bool,
    /// Compute threads. By default the cores this process may use.
    #[arg(long, env)]
    pub(crate) num_threads: Option<u32>,
    /// Tokens in a KV page, for executors that leave the choice.
    #[arg(long, env, hide = true)]
    pub(crate) page_tokens: Option<u32>,
}

/// The launcher's own behaviour; nothing of it reaches the configuration.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Launcher")]
pub struct ProcessArgs {
    /// Seconds a shard may take to load the model.
    #[arg(long, env, default_value_t = 600)]
    pub startup_timeout: u64,
    /// One JSON object a log line, for log collectors.
    #[arg(long, env, default_value_t = false, action = ArgAction::Set, value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true",
          value_parser = BoolishValueParser::new())]
    pub json_output: bool,
    /// Least level that is logged: error, warn, info, debug, trace, or per-module directives.
    #[arg(long, env, default_value = "info")]
    pub log_level: Targets,
}

/// What is done in the place of serving; at most one.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Instead of serving")]
#[group(multiple = false)]
pub(crate) struct ActionArgs {
    /// Print what this server runs on and was built from, for a bug report, and end.
    #[arg(long, short)]
    env: bool,
    /// Print the resolved configuration, each value with where it came from, and end.
    #[arg(long)]
    print_config: bool,
    /// Print the plan (executor, memory, pages, limits) from the headers of the model's files, and end.
    #[arg(long)]
    dry_run: bool,
}

/// What a launch is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// To serve.
    Serve,
    /// To report on machine and build.
    ReportEnvironment,
    /// To show the resolved configuration.
    PrintConfig,
    /// To show what would be served.
    DryRun,
}

/// TGI's quantizations that are not made or read here, with what comes nearest.
const TGI_QUANTIZE: &[(&str, &str)] = &[
    ("bitsandbytes", "int8"),
    ("bitsandbytes-nf4", "int4"),
    ("bitsandbytes-fp4", "int4"),
    ("eetq", "int8"),
    ("exl2", "int4"),
    ("fp8", "int8"),
    ("marlin", "gptq"),
    ("compressed-tensors", "int8"),
];
/// The same for keys and values.
const TGI_KV_CACHE_DTYPE: &[(&str, &str)] = &[("fp8_e4m3fn", "int8"), ("fp8_e5m2", "int8")];

/// One of `names`, spelled as `T` is spelled in the configuration file.
fn one_of<T>(names: &'static [&'static str]) -> OneOf<T> {
    OneOf {
        names,
        nearest: &[],
        value: PhantomData,
    }
}

/// Parser of a name.
#[derive(Clone)]
struct OneOf<T> {
    names: &'static [&'static str],
    /// Names of TGI that are refused, and what to take instead.
    nearest: &'static [(&'static str, &'static str)],
    value: PhantomData<T>,
}

impl<T> OneOf<T> {
    fn else_try(self, nearest: &'static [(&'static str, &'static str)]) -> Self {
        Self { nearest, ..self }
    }
}

impl<T> TypedValueParser for OneOf<T>
where
    T: DeserializeOwned + Clone + Send + Sync + 'static,
{
    type Value = T;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, text: &OsStr) -> Result<T, Error> {
        let given = text.to_string_lossy();
        if let Some((name, nearest)) = self.nearest.iter().find(|(name, _)| *name == given) {
            let flag = arg.and_then(Arg::get_long).unwrap_or_default();
            let text = format!("--{flag} {name} is not supported here: take --{flag} {nearest}\n");
            let mut error = Error::raw(ErrorKind::ValueValidation, text);
            let shown = ContextValue::String(format!("--{flag}"));
            error.insert(ContextKind::InvalidArg, shown);
            return Err(error);
        }
        PossibleValuesParser::new(self.names)
            .try_map(|name| serde_json::from_value(serde_json::Value::String(name)))
            .parse_ref(command, arg, text)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.names.iter().map(PossibleValue::new)))
    }
}

/// The end of `--help`.
fn exit_codes() -> String {
    let mut text = "Exit codes:\n".to_owned();
    for (code, meaning) in EXIT_CODES {
        text.push_str(&format!("  {code:>3}  {meaning}\n"));
    }
    text
}

fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text.to_owned()))
}
