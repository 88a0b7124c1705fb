//! A prompt's tokens with their text, and what the model makes of them.

use std::sync::Arc;

use crate::api::answer::TopToken;
use crate::api::detokenize::Detokenizer;
use crate::api::tokenizer::Tokenizer;
use crate::error::ApiError;
use crate::generation::TokenLogprob;

/// A token of a prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct PromptToken {
    /// Token id.
    pub id: u32,
    /// The text that became complete with it, or a special token's name.
    pub text: String,
    /// Natural log of its probability; `None` for the first one, which nothing is before.
    pub logprob: Option<f32>,
    /// Whether it is no part of the text.
    pub special: bool,
    /// The most likely tokens at this position, as many as were asked for.
    pub top: Vec<TopToken>,
}

/// The tokens of a prompt, from what the model makes of all but the first. Runs on a blocking thread:
/// it takes a while for a long prompt.
///
/// # Errors
/// [`ApiError::Internal`] when the two do not belong together.
pub async fn prompt_tokens(
    tokenizer: &Arc<Tokenizer>,
    ids: Vec<u32>,
    logprobs: Vec<TokenLogprob>,
) -> Result<Vec<PromptToken>, ApiError> {
    let (tokens, known) = (ids.len(), logprobs.len());
    if known + 1 != tokens {
        let message = format!("the shard scored {known} tokens of a prompt of {tokens}");
        return Err(ApiError::Internal(message));
    }
    let tokenizer = Arc::clone(tokenizer);
    let work = move || spell(&tokenizer, &ids, logprobs);
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|panic| ApiError::Internal(panic.to_string()))
}

/// What tokens say. Runs on a blocking thread, as above.
///
/// # Errors
/// [`ApiError::Internal`] when the work panics.
pub async fn text_of(tokenizer: Arc<Tokenizer>, ids: Vec<u32>) -> Result<String, ApiError> {
    let work = move || tokenizer.decode(&ids);
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|panic| ApiError::Internal(panic.to_string()))
}

fn spell(tokenizer: &Arc<Tokenizer>, ids: &[u32], logprobs: Vec<TokenLogprob>) -> Vec<PromptToken> {
    let mut detokenizer = Detokenizer::new(Arc::clone(tokenizer));
    let logprobs = std::iter::once(None).chain(logprobs.into_iter().map(Some));
    let mut tokens: Vec<_> = ids
        .iter()
        .zip(logprobs)
        .map(|(&id, logprob)| {
            let top = logprob.iter().flat_map(|logprob| &logprob.top);
            let top = top.map(|&(id, logprob)| top_token(&detokenizer, tokenizer, (id, logprob)));
            let top = top.collect();
            let special = tokenizer.is_special(id);
            let name = special.then(|| tokenizer.piece(id)).flatten();
            PromptToken {
                id,
                text: name.unwrap_or_else(|| detokenizer.push(id)),
                logprob: logprob.map(|logprob| logprob.logprob),
                special,
                top,
            }
        })
        .collect();
    if let Some(last) = tokens.last_mut() {
        last.text.push_str(&detokenizer.finish());
    }
    tokens
}

fn top_token(
    detokenizer: &Detokenizer,
    tokenizer: &Tokenizer,
    (id, logprob): (u32, f32),
) -> TopToken {
    TopToken {
        id,
        text: detokenizer.preview(id),
        logprob,
        special: tokenizer.is_special(id),
    }
}
