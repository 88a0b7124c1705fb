//! What the native routes share: from request to answers, and answers in TGI's shapes.

use std::sync::Arc;

use axum::response::sse::Event;

use crate::api::answer::{self, Answer, Completed, Outcome, Part, TextToken, TopToken};
use crate::api::prompt::PromptToken;
use crate::api::sse::{self, Encode, Frames};
use crate::api::stop::StopText;
use crate::api::timing::Clock;
use crate::api::tokenizer::Specials;
use crate::api::types::native::{
    BestOfSequence, Details, FinishReason, GenerateRequest, GenerateResponse, PrefillEvent,
    PrefillToken, StreamDetails, StreamResponse, Token,
};
use crate::api::validate::{self, Delivery};
use crate::config::Limits;
use crate::error::{ApiError, Form};
use crate::generation::{self, Progress};
use crate::model::Model;

/// A native request that the queue took.
pub struct Job {
    answers: Vec<Answer>,
    shape: Shape,
    /// When it came in.
    pub clock: Clock,
}

/// What the client wants to see of an answer.
#[derive(Debug, Clone)]
pub struct Shape {
    details: bool,
    /// The prompt, when the text is to begin with it.
    prefix: String,
}

/// Checks, tokenizes and submits a request.
///
/// # Errors
/// When it breaks a rule, or the queue refuses it.
pub async fn submit(
    model: &Model,
    limits: &Limits,
    request: GenerateRequest,
    delivery: Delivery,
) -> Result<Job, ApiError> {
    let clock = Clock::start();
    let parameters = request.parameters.unwrap_or_default();
    let plan = validate::native(&parameters, delivery, limits)?;
    let characters = request.inputs.chars().count();
    let full_text = parameters.return_full_text.unwrap_or(false);
    let shape = Shape {
        details: parameters.details.unwrap_or(false) || plan.prompt_logprobs,
        prefix: if full_text {
            request.inputs.clone()
        } else {
            String::new()
        },
    };
    let prompt = encode(model, request.inputs).await?;
    let clock = clock.validated(characters);
    let answers = answer::start(model, &plan, &prompt, StopText::Keep).await?;
    Ok(Job {
        answers,
        shape,
        clock,
    })
}

async fn encode(model: &Model, inputs: String) -> Result<Arc<Vec<u32>>, ApiError> {
    if inputs.is_empty() {
        return Err(validate::invalid(
            "inputs",
            "inputs is empty, it needs at least 1 character",
        ));
    }
    Ok(model.tokenizer.encode(inputs, Specials::Add).await?)
}

impl Job {
    /// Waits for all answers, the best one first.
    ///
    /// # Errors
    /// What the first of them to fail failed with.
    pub async fn complete(self) -> Result<(Vec<Completed>, Shape), ApiError> {
        let answers = self.answers.into_iter().map(Answer::collect);
        let mut completed = futures::future::try_join_all(answers).await?;
        completed.sort_by(|a, b| b.mean_logprob().total_cmp(&a.mean_logprob()));
        Ok((completed, self.shape))
    }

    /// The answer as it comes; a request for a stream has one.
    pub fn stream(self) -> axum::response::Response {
        let encoder = StreamEncoder {
            shape: self.shape,
            index: 0,
            last: None,
        };
        sse::respond(self.answers, encoder)
    }
}

/// The response for answers of which the first is the best.
#[must_use]
pub fn response(answers: Vec<Completed>, shape: &Shape) -> GenerateResponse {
    let mut answers = answers.into_iter();
    let best = answers.next().expect("a request has at least one answer");
    let others: Vec<_> = answers
        .map(|answer| best_of_sequence(answer, shape))
        .collect();
    let details = shape.details.then(|| Details {
        finish_reason: best.outcome.reason.into(),
        generated_tokens: best.outcome.generated_tokens,
        seed: best.outcome.seed,
        cached_tokens: best.outcome.receipt.cached_tokens,
        prefill: best.prompt.into_iter().map(PrefillToken::from).collect(),
        tokens: best.tokens.iter().map(Token::from).collect(),
        top_tokens: top_tokens(&best.tokens),
        best_of_sequences: (!others.is_empty()).then_some(others),
    });
    GenerateResponse {
        generated_text: shape.text(best.outcome.text),
        details,
    }
}

fn best_of_sequence(answer: Completed, shape: &Shape) -> BestOfSequence {
    BestOfSequence {
        finish_reason: answer.outcome.reason.into(),
        generated_tokens: answer.outcome.generated_tokens,
        seed: answer.outcome.seed,
        prefill: answer.prompt.into_iter().map(PrefillToken::from).collect(),
        tokens: answer.tokens.iter().map(Token::from).collect(),
        top_tokens: top_tokens(&answer.tokens),
        generated_text: shape.text(answer.outcome.text),
    }
}

/// One list a token when any was asked for.
fn top_tokens(tokens: &[TextToken]) -> Vec<Vec<Token>> {
    if tokens.iter().all(|token| token.top.is_empty()) {
        return vec![];
    }
    tokens
        .iter()
        .map(|token| token.top.iter().map(Token::from).collect())
        .collect()
}

impl Shape {
    fn text(&self, text: String) -> String {
        if self.prefix.is_empty() {
            text
        } else {
            format!("{}{text}", self.prefix)
        }
    }
}

/// One event a token; the last one waits for the end, which it carries.
struct StreamEncoder {
    shape: Shape,
    index: u32,
    last: Option<TextToken>,
}

impl Encode for StreamEncoder {
    fn progress(&mut self, _index: usize, progress: Progress, frames: &mut Frames) {
        let prefill = progress.into();
        frames.push_back(sse::json(&PrefillEvent { prefill }));
    }

    fn part(&mut self, _index: usize, part: Part, frames: &mut Frames) -> Result<(), ApiError> {
        match part {
            Part::Token(token) if token.is_last => self.last = Some(token),
            Part::Token(token) => frames.push_back(sse::json(&self.event(&token))),
            Part::End(outcome) => {
                // Clients need a token on every event, the one that carries the end included.
                let mut token = self.last.take().ok_or(ApiError::IncompleteGeneration)?;
                token.text.push_str(&outcome.rest);
                let mut event = self.event(&token);
                event.details = self.shape.details.then(|| stream_details(&outcome));
                event.generated_text = Some(self.shape.text(outcome.text));
                frames.push_back(sse::json(&event));
            }
        }
        Ok(())
    }

    fn error(&self, error: &ApiError) -> Event {
        sse::json(&Form::Native.body(error))
    }
}

impl StreamEncoder {
    fn event(&mut self, token: &TextToken) -> StreamResponse {
        self.index += 1;
        StreamResponse {
            index: self.index,
            token: token.into(),
            top_tokens: token.top.iter().map(Token::from).collect(),
            generated_text: None,
            details: None,
        }
    }
}

fn stream_details(outcome: &Outcome) -> StreamDetails {
    StreamDetails {
        finish_reason: outcome.reason.into(),
        generated_tokens: outcome.generated_tokens,
        seed: outcome.seed,
        input_length: outcome.prompt_tokens,
        cached_tokens: outcome.receipt.cached_tokens,
    }
}

impl From<&TextToken> for Token {
    fn from(token: &TextToken) -> Self {
        Self {
            id: token.id,
            text: token.text.clone(),
            logprob: token.logprob,
            special: token.special,
        }
    }
}

impl From<&TopToken> for Token {
    fn from(token: &TopToken) -> Self {
        Self {
            id: token.id,
            text: token.text.clone(),
            logprob: token.logprob,
            special: token.special,
        }
    }
}

impl From<PromptToken> for PrefillToken {
    fn from(token: PromptToken) -> Self {
        Self {
            id: token.id,
            text: token.text,
            logprob: token.logprob,
        }
    }
}

impl From<generation::FinishReason> for FinishReason {
    fn from(reason: generation::FinishReason) -> Self {
        match reason {
            generation::FinishReason::Length => Self::Length,
            generation::FinishReason::StopToken => Self::EosToken,
            generation::FinishReason::Stopped => Self::StopSequence,
        }
    }
}
