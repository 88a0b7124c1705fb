//! Limits: on requests, on grammars, on connections and bodies.

use bytesize::ByteSize;
use clap::ArgAction;
use clap::builder::BoolishValueParser;
use text_generation_router::config::{GrammarConfig, HttpLimits, Limits};

/// Bounds on requests.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Request limits")]
pub(crate) struct LimitArgs {
    /// Requests in the server at once, waiting ones included; one more is answered 429.
    #[arg(long, env, default_value_t = Limits::default().max_concurrent_requests)]
    pub(crate) max_concurrent_requests: usize,
    /// Prompt tokens that may wait in the queue; one more is answered 429.
    #[arg(long, env, default_value_t = Limits::default().max_queued_tokens)]
    pub(crate) max_queued_tokens: usize,
    /// Seconds a request may wait in the queue.
    #[arg(long, env, default_value_t = Limits::default().max_queue_seconds)]
    pub(crate) max_queue_seconds: u64,
    /// Seconds a request may take in all.
    #[arg(long, env, default_value_t = Limits::default().request_timeout)]
    pub(crate) request_timeout: u64,
    /// Most answers drawn for one request (`best_of`).
    #[arg(long, env, default_value_t = Limits::default().max_best_of)]
    pub(crate) max_best_of: u32,
    /// Stop strings of one request.
    #[arg(long, env, default_value_t = Limits::default().max_stop_sequences)]
    pub(crate) max_stop_sequences: usize,
    /// Bytes of one stop string.
    #[arg(long, env, default_value_t = Limits::default().max_stop_bytes)]
    pub(crate) max_stop_bytes: usize,
    /// Most likely tokens reported at each position.
    #[arg(long, env, default_value_t = Limits::default().max_top_n_tokens)]
    pub(crate) max_top_n_tokens: u32,
    /// Prompts of one completion request.
    #[arg(long, env, default_value_t = Limits::default().max_client_batch_size)]
    pub(crate) max_client_batch_size: usize,
    /// Answers to one prompt (`n`).
    #[arg(long, env, default_value_t = Limits::default().max_n)]
    pub(crate) max_n: u32,
    /// Messages of one chat request.
    #[arg(long, env, default_value_t = Limits::default().max_messages)]
    pub(crate) max_messages: usize,
    /// Tools of one chat request.
    #[arg(long, env, default_value_t = Limits::default().max_tools)]
    pub(crate) max_tools: usize,
    /// Bytes of the definitions of a request's tools together, as JSON.
    #[arg(long, env, default_value_t = Limits::default().max_tool_bytes)]
    pub(crate) max_tool_bytes: usize,
    /// Tokens that one request may bias (`logit_bias`).
    #[arg(long, env, default_value_t = Limits::default().max_logit_bias)]
    pub(crate) max_logit_bias: usize,
    /// Work of rendering one conversation, in instructions of the chat template or 64 bytes of text.
    #[arg(long, env, default_value_t = Limits::default().max_template_fuel)]
    pub(crate) max_template_fuel: u64,
    /// Bytes of a rendered conversation.
    #[arg(long, env, default_value_t = Limits::default().max_template_bytes)]
    pub(crate) max_template_bytes: usize,
    /// Responses kept for /v1/responses to fetch and to continue; the oldest makes room. 0 keeps
    /// none.
    #[arg(long, env, default_value_t = Limits::default().max_stored_responses)]
    pub(crate) max_stored_responses: usize,
    /// Bytes of the kept responses, each with its whole conversation; the oldest makes room.
    #[arg(long, env, default_value_t = Limits::default().max_stored_response_bytes)]
    pub(crate) max_stored_response_bytes: usize,
}

/// Grammars, and bounds on them.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Grammars")]
pub(crate) struct GrammarArgs {
    /// Refuse requests that bring a grammar, a schema or a response format.
    #[arg(long, env, default_value_t = false, action = ArgAction::Set, value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true",
          value_parser = BoolishValueParser::new())]
    pub(crate) disable_grammar_support: bool,
    /// Bytes of one schema, expression or grammar.
    #[arg(long, env, default_value_t = GrammarConfig::default().max_grammar_bytes)]
    pub(crate) max_grammar_bytes: usize,
    /// Milliseconds that making a parser of one may take.
    #[arg(long, env, default_value_t = GrammarConfig::default().max_grammar_compile_ms)]
    pub(crate) max_grammar_compile_ms: u64,
    /// Symbols in the productions of one.
    #[arg(long, env, default_value_t = GrammarConfig::default().max_grammar_size)]
    pub(crate) max_grammar_size: usize,
    /// Work of building the lexer of one, in nodes of regular expressions.
    #[arg(long, env, default_value_t = GrammarConfig::default().max_grammar_fuel)]
    pub(crate) max_grammar_fuel: u64,
    /// States of the lexer of one, 1 to 2 kB each.
    #[arg(long, env, default_value_t = GrammarConfig::default().max_grammar_lexer_states)]
    pub(crate) max_grammar_lexer_states: usize,
    /// Items that the parser of one may make for one token's mask, about 3 µs each.
    #[arg(long, env, default_value_t = GrammarConfig::default().max_grammar_step_items)]
    pub(crate) max_grammar_step_items: usize,
    /// Memory for what is known of grammars that were checked.
    #[arg(long, env, value_name = "SIZE",
          default_value_t = ByteSize(GrammarConfig::default().grammar_cache_bytes))]
    pub(crate) grammar_cache: ByteSize,
}

/// Bounds on connections and bodies.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Connection limits")]
pub(crate) struct HttpArgs {
    /// Bytes of one request body; one more is answered 413.
    #[arg(long, env, default_value_t = HttpLimits::default().payload_limit)]
    pub(crate) payload_limit: usize,
    /// Bytes of all request bodies that are being read.
    #[arg(long, env, default_value_t = HttpLimits::default().max_body_bytes_in_flight)]
    pub(crate) max_body_bytes_in_flight: usize,
    /// Open connections.
    #[arg(long, env, default_value_t = HttpLimits::default().max_connections)]
    pub(crate) max_connections: usize,
    /// Bytes of a request's header section.
    #[arg(long, env, default_value_t = HttpLimits::default().max_header_bytes)]
    pub(crate) max_header_bytes: usize,
    /// Lines of a request's header section.
    #[arg(long, env, default_value_t = HttpLimits::default().max_headers)]
    pub(crate) max_headers: usize,
    /// Seconds for a request's header section.
    #[arg(long, env, default_value_t = HttpLimits::default().header_timeout)]
    pub(crate) header_timeout: u64,
    /// Seconds for a request's body.
    #[arg(long, env, default_value_t = HttpLimits::default().body_timeout)]
    pub(crate) body_timeout: u64,
    /// Bytes a second that a body must bring on average, once it took 5 seconds; 0 asks for none.
    #[arg(long, env, default_value_t = HttpLimits::default().min_body_rate)]
    pub(crate) min_body_rate: usize,
    /// How deep the arrays and objects of a body may nest.
    #[arg(long, env, default_value_t = HttpLimits::default().max_json_depth)]
    pub(crate) max_json_depth: usize,
    /// Events that a client may leave unread before it counts as behind.
    #[arg(long, env, default_value_t = HttpLimits::default().max_unread_events)]
    pub(crate) max_unread_events: usize,
    /// Seconds a client may be behind in reading a stream before its request is cancelled.
    #[arg(long, env, default_value_t = HttpLimits::default().write_stall_timeout)]
    pub(crate) write_stall_timeout: u64,
}

impl From<LimitArgs> for Limits {
    fn from(args: LimitArgs) -> Self {
        Self {
            max_concurrent_requests: args.max_concurrent_requests,
            max_queued_tokens: args.max_queued_tokens,
            max_queue_seconds: args.max_queue_seconds,
            request_timeout: args.request_timeout,
            max_best_of: args.max_best_of,
            max_stop_sequences: args.max_stop_sequences,
            max_stop_bytes: args.max_stop_bytes,
            max_top_n_tokens: args.max_top_n_tokens,
            max_client_batch_size: args.max_client_batch_size,
            max_n: args.max_n,
            max_messages: args.max_messages,
            max_tools: args.max_tools,
            max_tool_bytes: args.max_tool_bytes,
            max_logit_bias: args.max_logit_bias,
            max_template_fuel: args.max_template_fuel,
            max_template_bytes: args.max_template_bytes,
            max_stored_responses: args.max_stored_responses,
            max_stored_response_bytes: args.max_stored_response_bytes,
        }
    }
}

impl From<GrammarArgs> for GrammarConfig {
    fn from(args: GrammarArgs) -> Self {
        Self {
            grammar_support: !args.disable_grammar_support,
            max_grammar_bytes: args.max_grammar_bytes,
            max_grammar_compile_ms: args.max_grammar_compile_ms,
            max_grammar_size: args.max_grammar_size,
            max_grammar_fuel: args.max_grammar_fuel,
            max_grammar_lexer_states: args.max_grammar_lexer_states,
            max_grammar_step_items: args.max_grammar_step_items,
            grammar_cache_bytes: args.grammar_cache.0,
        }
    }
}

impl From<HttpArgs> for HttpLimits {
    fn from(args: HttpArgs) -> Self {
        Self {
            payload_limit: args.payload_limit,
            max_body_bytes_in_flight: args.max_body_bytes_in_flight,
            max_connections: args.max_connections,
            max_header_bytes: args.max_header_bytes,
            max_headers: args.max_headers,
            header_timeout: args.header_timeout,
            body_timeout: args.body_timeout,
            min_body_rate: args.min_body_rate,
            max_json_depth: args.max_json_depth,
            max_unread_events: args.max_unread_events,
            write_stall_timeout: args.write_stall_timeout,
        }
    }
}
