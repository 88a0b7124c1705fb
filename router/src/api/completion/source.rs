//! Prompts as text or as token ids.

use std::sync::Arc;

use crate::api::prompt::text_of;
use crate::api::tokenizer::Specials;
use crate::api::types::completion::Prompt;
use crate::api::validate::invalid;
use crate::error::ApiError;
use crate::model::Model;

/// One prompt as it was sent.
#[derive(Debug, Clone)]
pub enum Source {
    /// Its text.
    Text(String),
    /// Its tokens.
    Ids(Vec<u32>),
}

/// The prompts of a request, at least one.
///
/// # Errors
/// When there are none, or one of them is empty.
pub fn sources(prompt: Prompt) -> Result<Vec<Source>, ApiError> {
    let sources: Vec<Source> = match prompt {
        Prompt::Text(texts) => texts.into_vec().into_iter().map(Source::Text).collect(),
        Prompt::Ids(ids) => vec![Source::Ids(ids)],
        Prompt::ManyIds(many) => many.into_iter().map(Source::Ids).collect(),
    };
    let is_empty = |source: &Source| match source {
        Source::Text(text) => text.is_empty(),
        Source::Ids(ids) => ids.is_empty(),
    };
    if sources.is_empty() || sources.iter().any(is_empty) {
        let message = "prompt is empty, it needs at least 1 token";
        return Err(invalid("prompt", message));
    }
    Ok(sources)
}

impl Source {
    /// Characters that were sent.
    #[must_use]
    pub fn characters(&self) -> usize {
        match self {
            Self::Text(text) => text.chars().count(),
            Self::Ids(_) => 0,
        }
    }

    /// What the prompt says.
    ///
    /// # Errors
    /// [`ApiError::Internal`] when the work panics.
    pub async fn text(&self, model: &Model) -> Result<String, ApiError> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::Ids(ids) => text_of(Arc::clone(&model.tokenizer), ids.clone()).await,
        }
    }

    /// Its tokens.
    ///
    /// # Errors
    /// When an id is none, or the text cannot be tokenized.
    pub async fn encode(self, model: &Model) -> Result<Arc<Vec<u32>>, ApiError> {
        match self {
            Self::Text(text) => Ok(model.tokenizer.encode(text, Specials::Add).await?),
            Self::Ids(ids) => match ids.iter().find(|&&id| id >= model.info.vocab_size) {
                None => Ok(Arc::new(ids)),
                Some(id) => {
                    let size = model.info.vocab_size;
                    let message = format!("token ids must be below {size}, got {id}");
                    Err(invalid("prompt", message))
                }
            },
        }
    }
}
