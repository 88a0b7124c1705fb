//! Text to token ids and back, by the model's own `tokenizer.json`.
//!
//! Encoding is CPU work that grows with the prompt, so it runs on blocking threads, at most
//! `workers` at a time. A text that takes longer than [`encode_limit`] is refused; the thread that
//! works on it keeps its slot until it is done, so that such texts cannot pile up. A text of at most
//! [`SHORT_BYTES`] takes less time than to hand it to a thread and back, so it waits for none.

use std::collections::HashSet;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::metrics;
use crate::rate::Rate;

use recent::{Ids, Recent};

mod pipeline;
mod recent;

/// Longest time that a stretch of [`STRETCH_BYTES`] of a text may take to encode: natural text takes
/// a tenth of it.
const STRETCH_LIMIT: Duration = Duration::from_secs(2);
const STRETCH_BYTES: usize = 256 * 1024;

/// Longest text that is encoded where it came in: some ten microseconds of work.
const SHORT_BYTES: usize = 512;

/// Longest time a text may wait for a free worker.
pub const WORKER_LIMIT: Duration = Duration::from_secs(10);

/// A model's tokenizer and the threads it runs on.
pub struct Tokenizer {
    inner: Arc<tokenizers::Tokenizer>,
    special_ids: HashSet<u32>,
    /// Special tokens put before and after a text.
    around: [Vec<u32>; 2],
    recent: Arc<Recent>,
    workers: Arc<Semaphore>,
    /// Bytes encoded by one worker.
    rate: Rate,
    /// Bytes that wait for a worker.
    waiting: AtomicUsize,
}

/// Whether the tokenizer puts its own special tokens (such as BOS) around the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Specials {
    /// As the model was trained: for plain text.
    Add,
    /// Only the text: for rendered chat templates, which write them out.
    Omit,
}

/// A token and the bytes of the text that it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSpan {
    /// Token id.
    pub id: u32,
    /// Bytes of the encoded text.
    pub bytes: Range<usize>,
}

/// Why a text did not become tokens, or a file did not become a tokenizer.
#[derive(Debug, thiserror::Error)]
pub enum TokenizeError {
    /// The file is no tokenizer.
    #[error("tokenizer.json cannot be read: {0}")]
    BadFile(String),
    /// The tokenizer refused the text.
    #[error("the text cannot be tokenized: {0}")]
    Refused(String),
    /// The text took longer than its [`encode_limit`].
    #[error("tokenizing the text took longer than {} s; send a shorter or more natural text", .0.as_secs())]
    TooSlow(Duration),
    /// All workers were busy for [`WORKER_LIMIT`].
    #[error("no tokenizer worker was free for {} s", WORKER_LIMIT.as_secs())]
    Busy {
        /// When those that wait should be done.
        retry_after: Duration,
    },
}

impl Tokenizer {
    /// Reads a `tokenizer.json`. At most `workers` texts (at least one) are encoded at once.
    ///
    /// # Errors
    /// [`TokenizeError::BadFile`] when the bytes are no tokenizer.
    pub fn from_bytes(json: &[u8], workers: usize) -> Result<Self, TokenizeError> {
        let bad_file = |error: tokenizers::Error| TokenizeError::BadFile(error.to_string());
        let mut inner = tokenizers::Tokenizer::from_bytes(json).map_err(bad_file)?;
        // Some published files carry their training set-up; it would cut prompts silently.
        inner.with_truncation(None).map_err(bad_file)?;
        inner.with_padding(None);
        let added = inner.get_added_tokens_decoder();
        let special_ids = added
            .iter()
            .filter(|(_, token)| token.special)
            .map(|(id, _)| *id);
        Ok(Self {
            special_ids: special_ids.collect(),
            around: around(&inner).map_err(bad_file)?,
            recent: Arc::new(Recent::new(&inner)),
            inner: Arc::new(inner),
            workers: Arc::new(Semaphore::new(workers.max(1))),
            rate: Rate::default(),
            waiting: AtomicUsize::new(0),
        })
    }

    /// Token ids of a text. What it has in common with a text encoded lately is not encoded again.
    ///
    /// # Errors
    /// Any [`TokenizeError`] but `BadFile`.
    pub async fn encode(
        &self,
        text: String,
        specials: Specials,
    ) -> Result<Arc<Vec<u32>>, TokenizeError> {
        let recent = Arc::clone(&self.recent);
        let bytes = text.len();
        let encode = move |tokenizer: &tokenizers::Tokenizer| {
            let Ids { ids, encoded_bytes } = recent.encode(tokenizer, text)?;
            Ok((ids, encoded_bytes))
        };
        let ids = self.run(bytes, encode).await?;
        let [before, after] = &self.around;
        Ok(match specials {
            Specials::Add if !(before.is_empty() && after.is_empty()) => {
                Arc::new([before, ids.as_slice(), after].concat())
            }
            Specials::Add | Specials::Omit => ids,
        })
    }

    /// Tokens of a text together with the bytes each stands for.
    ///
    /// # Errors
    /// Any [`TokenizeError`] but `BadFile`.
    pub async fn encode_spans(
        &self,
        text: String,
        specials: Specials,
    ) -> Result<Vec<TokenSpan>, TokenizeError> {
        let bytes = text.len();
        self.run(bytes, move |tokenizer| {
            let encoding = tokenizer.encode(text, specials == Specials::Add)?;
            let tokens = encoding.get_ids().iter().zip(encoding.get_offsets());
            let spans = tokens.map(|(&id, &(start, end))| TokenSpan {
                id,
                bytes: start..end,
            });
            Ok((spans.collect(), bytes))
        })
        .await
    }

    /// Text of tokens, special ones left out. Ids outside the vocabulary have no text.
    #[must_use]
    pub fn decode(&self, ids: &[u32]) -> String {
        // Decoders fail only on malformed tokenizers; their tokens then have no text.
        self.inner.decode(ids, true).unwrap_or_default()
    }

    /// Whether the id is a special token, which is never part of the text.
    #[must_use]
    pub fn is_special(&self, id: u32) -> bool {
        self.special_ids.contains(&id)
    }

    /// Special tokens that stand for exactly this text.
    #[must_use]
    pub fn special_ids_of(&self, text: &str) -> Vec<u32> {
        let ids = self.inner.token_to_id(text).into_iter();
        ids.filter(|&id| self.is_special(id)).collect()
    }

    /// The vocabulary's entry for an id: the text of special tokens.
    #[must_use]
    pub fn piece(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Runs work on a text of so many bytes, which returns also how many of them it encoded.
    async fn run<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce(&tokenizers::Tokenizer) -> tokenizers::Result<(T, usize)> + Send + 'static,
    ) -> Result<T, TokenizeError> {
        if bytes > SHORT_BYTES {
            return self.on_worker(bytes, work).await;
        }
        let started = Instant::now();
        let done = catch_unwind(AssertUnwindSafe(|| work(&self.inner)));
        metrics::tokenized(started.elapsed());
        match done {
            Ok(Ok((result, _))) => Ok(result),
            Ok(Err(error)) => Err(TokenizeError::Refused(error.to_string())),
            Err(_) => Err(TokenizeError::Refused("the tokenizer failed".to_owned())),
        }
    }

    async fn on_worker<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce(&tokenizers::Tokenizer) -> tokenizers::Result<(T, usize)> + Send + 'static,
    ) -> Result<T, TokenizeError> {
        let permit = self.free_worker(bytes).await?;
        let started = Instant::now();
        let inner = Arc::clone(&self.inner);
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work(&inner).map_err(|error| TokenizeError::Refused(error.to_string()))
        });
        let limit = encode_limit(bytes);
        match tokio::time::timeout(limit, task).await {
            Err(_) => Err(TokenizeError::TooSlow(limit)),
            Ok(Err(panic)) => Err(TokenizeError::Refused(panic.to_string())),
            Ok(Ok(result)) => {
                let (result, encoded) = result?;
                // A text that was mostly known took its time for other work than encoding.
                if encoded >= bytes - encoded {
                    self.rate.measured(encoded as u64, started.elapsed());
                }
                metrics::tokenized(started.elapsed());
                Ok(result)
            }
        }
    }

    async fn free_worker(&self, bytes: usize) -> Result<OwnedSemaphorePermit, TokenizeError> {
        let _waits = Waiting::new(&self.waiting, bytes);
        let permit = Arc::clone(&self.workers).acquire_owned();
        match tokio::time::timeout(WORKER_LIMIT, permit).await {
            Err(_) => Err(TokenizeError::Busy {
                retry_after: self.rate.retry_after(self.waiting.load(Ordering::Relaxed)),
            }),
            Ok(permit) => Ok(permit.expect("the semaphore is never closed")),
        }
    }
}

/// The special tokens that a tokenizer puts before and after a text: the same for every text.
fn around(tokenizer: &tokenizers::Tokenizer) -> tokenizers::Result<[Vec<u32>; 2]> {
    const PROBE: &str = "a";
    let plain = tokenizer.encode_fast(PROBE, false)?;
    let whole = tokenizer.encode_fast(PROBE, true)?;
    let (plain, whole) = (plain.get_ids(), whole.get_ids());
    let at = (0..=whole.len())
        .find(|&at| whole[at..].starts_with(plain))
        .ok_or("the post-processor changes the tokens of the text")?;
    Ok([whole[..at].to_vec(), whole[at + plain.len()..].to_vec()])
}

/// A text's share of the bytes that wait; taken back by drop.
struct Waiting<'a> {
    all: &'a AtomicUsize,
    bytes: usize,
}

impl<'a> Waiting<'a> {
    fn new(all: &'a AtomicUsize, bytes: usize) -> Self {
        all.fetch_add(bytes, Ordering::Relaxed);
        Self { all, bytes }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Longest time that a text of so many bytes may take to encode.
fn encode_limit(bytes: usize) -> Duration {
    let stretches = u32::try_from(bytes / STRETCH_BYTES).unwrap_or(u32::MAX);
    STRETCH_LIMIT.saturating_mul(stretches.saturating_add(1))
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("special_ids", &self.special_ids)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod fixture;
#[cfg(test)]
pub(crate) mod tests;
