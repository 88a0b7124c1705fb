//! Checks grammars off the hot path: on few threads of their own, each within a time, with what is
//! known of a grammar remembered.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use rustix::process::setpriority_process;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

use super::Grammar;
use super::parsers::Parsers;
use crate::api::tokenizer::WORKER_LIMIT;
use crate::config::GrammarConfig;
use crate::error::ApiError;
use crate::limits::LimitName;
use crate::metrics;
use crate::pb::EngineInfo;
use crate::rate::retry_after;

/// Grammars that are checked at once.
pub(super) const WORKERS: usize = 2;

/// How much a worker stands back behind other threads of the machine: it gets a third of their share.
const NICENESS: i32 = 5;

/// Stack of a worker for each byte of the longest grammar: rules that name each other are read by
/// recursion, and take up to 256 bytes of stack a byte of text. What is not used costs no memory.
const STACK_PER_BYTE: usize = 1024;
const LEAST_STACK_BYTES: usize = 16 * 1024 * 1024;

/// Bytes that a remembered grammar takes beside its text.
const ENTRY_BYTES: usize = 128;

/// What is wrong with a grammar, if anything.
pub(super) type Verdict = Result<(), Arc<str>>;

/// What llguidance calls its limits, and what we do.
const LIMITS: [(&str, LimitName); 8] = [
    ("grammar size", LimitName::GrammarSize),
    ("schema too large", LimitName::GrammarSize),
    ("initial lexer configuration", LimitName::GrammarFuel),
    ("initial_lexer_fuel", LimitName::GrammarFuel),
    ("fuel exhausted", LimitName::GrammarFuel),
    ("regular expressions branch", LimitName::GrammarFuel),
    ("LexerTooComplex", LimitName::GrammarStates),
    ("Too many items", LimitName::GrammarStep),
];

/// Checks the grammars of one model's requests.
pub struct Grammars {
    /// Or why there are none.
    parsers: Result<Arc<Parsers>, String>,
    config: GrammarConfig,
    pub(super) verdicts: Cache<Arc<str>, Verdict, Bytes>,
    pub(super) workers: Arc<Semaphore>,
}

/// Weighs an entry by its bytes.
#[derive(Clone)]
pub(super) struct Bytes;

impl Weighter<Arc<str>, Verdict> for Bytes {
    fn weight(&self, source: &Arc<str>, verdict: &Verdict) -> u64 {
        let reason = verdict.as_ref().err().map_or(0, |reason| reason.len());
        (source.len() + reason + ENTRY_BYTES) as u64
    }
}

impl Grammars {
    /// A checker with the vocabulary of a `tokenizer.json`. A model for which there can be no
    /// grammars still serves all other requests.
    #[must_use]
    pub fn new(tokenizer: &[u8], info: &EngineInfo, config: &GrammarConfig) -> Self {
        let parsers = if config.grammar_support {
            Parsers::new(tokenizer, info, config)
                .map(Arc::new)
                .map_err(|error| format!("this model cannot follow grammars: {error:#}"))
        } else {
            Err("grammars are disabled on this server (--disable-grammar-support)".to_owned())
        };
        if let (true, Err(reason)) = (config.grammar_support, &parsers) {
            tracing::warn!("{reason}");
        }
        let expected = config.grammar_cache_bytes / (1024 + ENTRY_BYTES as u64);
        let expected = usize::try_from(expected).unwrap_or(usize::MAX).max(1);
        Self {
            parsers,
            config: config.clone(),
            verdicts: Cache::with_weighter(expected, config.grammar_cache_bytes, Bytes),
            workers: Arc::new(Semaphore::new(WORKERS)),
        }
    }

    /// Checks that answers can follow a grammar.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] with the field and the reason when it is malformed or above a limit,
    /// [`ApiError::Unavailable`] when other grammars keep all workers busy.
    pub async fn check(&self, grammar: &Grammar) -> Result<(), ApiError> {
        let field = grammar.field;
        let parsers = self.parsers.as_ref();
        let parsers =
            parsers.map_err(|reason| ApiError::invalid(field, format!("{field}: {reason}")))?;
        let (bytes, most) = (grammar.bytes, self.config.max_grammar_bytes);
        if bytes > most {
            let message = format!("{field} must have at most {most} bytes, got {bytes}");
            return Err(ApiError::beyond(LimitName::GrammarBytes, field, message));
        }
        let work = self.parse(parsers, grammar);
        let verdict = self
            .verdicts
            .get_or_insert_async(&grammar.source, work)
            .await?;
        verdict.map_err(|reason| {
            let message = format!("{field} cannot be followed: {reason}");
            match LIMITS.iter().find(|(text, _)| reason.contains(text)) {
                Some((_, limit)) => ApiError::beyond(*limit, field, message),
                None => ApiError::invalid(field, message),
            }
        })
    }

    async fn parse(&self, parsers: &Arc<Parsers>, grammar: &Grammar) -> Result<Verdict, ApiError> {
        let permit = self.free_worker().await?;
        let stack = self.config.max_grammar_bytes * STACK_PER_BYTE;
        let thread = thread::Builder::new()
            .name("grammar".to_owned())
            .stack_size(stack.max(LEAST_STACK_BYTES));
        let (parsers, source) = (Arc::clone(parsers), Arc::clone(&grammar.source));
        let check = move || {
            let started = Instant::now();
            let verdict = parsers.check(&source);
            metrics::grammar_checked(started.elapsed());
            verdict
        };
        let verdict = start(thread, permit, check)?;
        let limit = Duration::from_millis(self.config.max_grammar_compile_ms);
        match timeout(limit, verdict).await {
            Ok(Ok(verdict)) => Ok(verdict),
            Ok(Err(_)) => Ok(Err("its parser failed".into())),
            Err(_) => {
                let (field, limit) = (grammar.field, self.config.max_grammar_compile_ms);
                let message = format!(
                    "{field} cannot be followed: making a parser of it took longer than {limit} \
                     ms; send a simpler one"
                );
                Err(ApiError::beyond(LimitName::GrammarTime, field, message))
            }
        }
    }

    async fn free_worker(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let permit = Arc::clone(&self.workers).acquire_owned();
        match timeout(WORKER_LIMIT, permit).await {
            Ok(permit) => Ok(permit.expect("the semaphore is never closed")),
            Err(_) => Err(busy(format!(
                "no worker was free to check the grammar for {} s",
                WORKER_LIMIT.as_secs()
            ))),
        }
    }
}

/// Checks a grammar on a thread of its own, which keeps the permit until it ends.
fn start(
    thread: thread::Builder,
    permit: OwnedSemaphorePermit,
    check: impl FnOnce() -> Result<(), String> + Send + 'static,
) -> Result<oneshot::Receiver<Verdict>, ApiError> {
    let (sender, receiver) = oneshot::channel();
    let work = move || {
        let _permit = permit;
        // On Linux this is about the calling thread. Where it is not allowed, all goes on as it is.
        let _ = setpriority_process(None, NICENESS);
        // Nobody listens any more once the time is over.
        let _ = sender.send(check().map_err(Arc::from));
    };
    match thread.spawn(work) {
        Ok(_) => Ok(receiver),
        Err(error) => Err(busy(format!(
            "no thread could be started to check the grammar: {error}"
        ))),
    }
}

/// Too much is being checked: what waited in vain is expected to wait as long again.
fn busy(reason: String) -> ApiError {
    ApiError::Unavailable {
        reason,
        retry_after: retry_after(WORKER_LIMIT),
    }
}

impl std::fmt::Debug for Grammars {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grammars")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
