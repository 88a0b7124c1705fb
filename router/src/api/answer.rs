//! A generation as text: detokenized, watched for stop strings, and with its end explained. Every
//! route, streamed or not, native or `/v1`, is an encoder of these parts.

use std::sync::Arc;

use futures::Stream;
use futures::stream::unfold;

use crate::api::detokenize::Detokenizer;
use crate::api::prompt::{PromptToken, prompt_tokens};
use crate::api::stop::{StopMatcher, StopText};
use crate::api::tokenizer::Tokenizer;
use crate::api::validate::Plan;
use crate::error::ApiError;
use crate::generation::{Event, FinishReason, Finished, Generation, Progress, Receipt, Token};
use crate::model::Model;

/// One answer being generated. Dropping it cancels the generation.
pub struct Answer {
    generation: Generation,
    tokenizer: Arc<Tokenizer>,
    detokenizer: Detokenizer,
    stop: StopMatcher,
    stop_token_ids: Vec<u32>,
    /// Special tokens that are part of the text.
    marks: Vec<u32>,
    max_new_tokens: u32,
    seed: Option<u64>,
    text: String,
    /// The prompt, until its log probabilities come.
    prompt: Vec<u32>,
    /// Tokens that stand once a stop string was found.
    kept: Option<u32>,
}

/// What comes out of an answer: tokens, then one end.
#[derive(Debug)]
pub enum Part {
    /// The next token.
    Token(TextToken),
    /// The answer is complete.
    End(Outcome),
}

/// What comes out of an answer, with what is told beside it.
#[derive(Debug)]
pub enum Update {
    /// How far the prefill is; only where `Plan::progress` asks for it.
    Progress(Progress),
    /// The prompt's tokens, before the first part; only where `Plan::prompt_logprobs` asks for them.
    Prompt(Vec<PromptToken>),
    /// The next part.
    Part(Part),
}

/// A token with its text.
#[derive(Debug, Clone, PartialEq)]
pub struct TextToken {
    /// Token id.
    pub id: u32,
    /// Natural log of its probability.
    pub logprob: f32,
    /// What the token looks like: the text that became complete with it, or a special token's name.
    pub text: String,
    /// Text of the answer that may be shown from now on; stop strings may hold it back.
    pub delta: String,
    /// Whether it is no part of the text.
    pub special: bool,
    /// The most likely tokens at this position.
    pub top: Vec<TopToken>,
    /// Whether the answer ends with it.
    pub is_last: bool,
}

/// A token that was likely at some position.
#[derive(Debug, Clone, PartialEq)]
pub struct TopToken {
    /// Token id.
    pub id: u32,
    /// The text it would have added.
    pub text: String,
    /// Natural log of its probability.
    pub logprob: f32,
    /// Whether it is no part of the text.
    pub special: bool,
}

/// How an answer ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// What ended it.
    pub reason: FinishReason,
    /// The stop string that ended it.
    pub stop_sequence: Option<String>,
    /// The whole text.
    pub text: String,
    /// The end of the text that came with no token.
    pub rest: String,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens of the answer.
    pub generated_tokens: u32,
    /// The seed that repeats the answer; `None` unless it was sampled.
    pub seed: Option<u64>,
    /// What it cost.
    pub receipt: Receipt,
}

/// An answer that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Completed {
    /// The prompt's tokens, where `Plan::prompt_logprobs` asks for them.
    pub prompt: Vec<PromptToken>,
    /// Its tokens.
    pub tokens: Vec<TextToken>,
    /// Its end.
    pub outcome: Outcome,
}

impl Completed {
    /// How likely the model finds it: the mean log probability of its tokens.
    #[must_use]
    pub fn mean_logprob(&self) -> f32 {
        let sum: f32 = self.tokens.iter().map(|token| token.logprob).sum();
        sum / self.tokens.len().max(1) as f32
    }
}

/// Checks the plan's grammar and submits `plan.answers` requests for the same prompt.
///
/// # Errors
/// When the grammar is refused, the prompt does not fit, or the queue refuses; requests already
/// submitted are then cancelled.
pub async fn start(
    model: &Model,
    plan: &Plan,
    prompt: &[u32],
    stop_text: StopText,
) -> Result<Vec<Answer>, ApiError> {
    if let Some(grammar) = &plan.grammar {
        model.grammars.check(grammar).await?;
    }
    plan.check_biases(model.info.vocab_size)?;
    let seed = plan.seed.unwrap_or_else(rand::random);
    let start_one = |number| {
        let request = plan.fit(prompt.to_vec(), (seed, number), model.room())?;
        let tokenizer = Arc::clone(&model.tokenizer);
        Ok(Answer {
            detokenizer: Detokenizer::new(Arc::clone(&tokenizer)),
            tokenizer,
            stop: StopMatcher::new(plan.stop.clone(), stop_text),
            stop_token_ids: request.stop_token_ids.clone(),
            marks: plan.marks.clone(),
            max_new_tokens: request.max_new_tokens,
            seed: plan.is_sampled().then_some(request.sampling.seed),
            text: String::new(),
            prompt: if plan.prompt_logprobs {
                request.tokens.clone()
            } else {
                vec![]
            },
            kept: None,
            generation: model.submit(request)?,
        })
    };
    (0..plan.answers).map(start_one).collect()
}

impl Answer {
    /// The next part; `None` after the end or an error.
    pub async fn next(&mut self) -> Option<Result<Part, ApiError>> {
        loop {
            match self.next_update().await? {
                Ok(Update::Part(part)) => return Some(Ok(part)),
                Ok(_) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// The next part, or what is told before the first one.
    pub async fn next_update(&mut self) -> Option<Result<Update, ApiError>> {
        loop {
            return Some(match self.generation.next().await? {
                // Drawn before the shard heard of the stop string.
                Event::Token(_) if self.kept.is_some() => continue,
                Event::Token(token) => Ok(Update::Part(Part::Token(self.take(token)))),
                Event::Finished(finished) => Ok(Update::Part(Part::End(self.end(&finished)))),
                Event::Progress(progress) => Ok(Update::Progress(progress)),
                Event::Prompt(logprobs) => {
                    let ids = std::mem::take(&mut self.prompt);
                    let prompt = prompt_tokens(&self.tokenizer, ids, logprobs).await;
                    prompt.map(Update::Prompt)
                }
                Event::Failed(error) => Err(error),
            });
        }
    }

    /// All that is still to come.
    pub fn into_updates(self) -> impl Stream<Item = Result<Update, ApiError>> + Send {
        unfold(self, |mut answer| async move {
            Some((answer.next_update().await?, answer))
        })
    }

    /// The whole answer.
    ///
    /// # Errors
    /// What the generation failed with.
    pub async fn collect(mut self) -> Result<Completed, ApiError> {
        let (mut prompt, mut tokens) = (Vec::new(), Vec::new());
        while let Some(update) = self.next_update().await {
            match update? {
                Update::Progress(_) => {}
                Update::Prompt(all) => prompt = all,
                Update::Part(Part::Token(token)) => tokens.push(token),
                Update::Part(Part::End(outcome)) => {
                    return Ok(Completed {
                        prompt,
                        tokens,
                        outcome,
                    });
                }
            }
        }
        Err(ApiError::IncompleteGeneration)
    }

    fn take(&mut self, token: Token) -> TextToken {
        let ends = self.stop_token_ids.contains(&token.id);
        let special = ends || self.tokenizer.is_special(token.id);
        let top = token
            .top
            .iter()
            .map(|&(id, logprob)| self.top_token(id, logprob))
            .collect();
        let mut is_last = ends || token.index + 1 >= self.max_new_tokens;
        let mut piece = if self.marks.contains(&token.id) {
            let mark = self.tokenizer.piece(token.id);
            self.detokenizer.finish() + &mark.unwrap_or_default()
        } else if special {
            String::new()
        } else {
            self.detokenizer.push(token.id)
        };
        if is_last {
            piece.push_str(&self.detokenizer.finish());
        }
        let released = self.stop.push(piece);
        let mut delta = released.text;
        if released.stopped {
            self.kept = Some(token.index + 1);
            self.generation.stop(token.index + 1);
            is_last = true;
        } else if is_last {
            delta.push_str(&self.stop.finish());
        }
        self.text.push_str(&delta);
        let name = special.then(|| self.tokenizer.piece(token.id)).flatten();
        let text = name.unwrap_or_else(|| delta.clone());
        TextToken {
            id: token.id,
            logprob: token.logprob,
            text,
            delta,
            special,
            top,
            is_last,
        }
    }

    fn top_token(&self, id: u32, logprob: f32) -> TopToken {
        let special = self.stop_token_ids.contains(&id) || self.tokenizer.is_special(id);
        TopToken {
            id,
            text: self.detokenizer.preview(id),
            logprob,
            special,
        }
    }

    fn end(&mut self, finished: &Finished) -> Outcome {
        let mut rest = String::new();
        if self.kept.is_none() {
            let last = self.stop.push(self.detokenizer.finish());
            rest = last.text + &self.stop.finish();
        }
        self.text.push_str(&rest);
        Outcome {
            reason: self.kept.map_or(finished.reason, |_| FinishReason::Stopped),
            stop_sequence: self.stop.found().map(str::to_owned),
            text: std::mem::take(&mut self.text),
            rest,
            prompt_tokens: finished.prompt_tokens,
            // The shard may have finished in the meantime, with tokens that do not stand.
            generated_tokens: self.kept.unwrap_or(finished.generated_tokens),
            seed: self.seed,
            receipt: finished.receipt,
        }
    }
}
