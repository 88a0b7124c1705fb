//! `POST /v1/completions`: prompts, continued.

use axum::Json as JsonResponse;
use axum::extract::State;
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use futures::future::try_join_all;
use serde_json::Value;

use crate::api::answer::{self, Answer, Completed, Part, TextToken};
use crate::api::extract::Json;
use crate::api::openai::{self, Envelope, UsageCounter};
use crate::api::sse::{self, Encode, Frames};
use crate::api::stop::StopText;
use crate::api::timing::Clock;
use crate::api::tokenizer::Specials;
use crate::api::types::completion::{
    Completion, CompletionChoice, CompletionLogprobs, CompletionRequest, Prompt,
};
use crate::api::types::openai::{FinishReason, Usage};
use crate::api::validate;
use crate::app::AppState;
use crate::config::Limits;
use crate::error::ApiError;
use crate::generation::Progress;
use crate::model::Model;

/// Continues one prompt or several.
///
/// # Errors
/// When the request breaks a rule, the queue refuses it, or the generation fails; errors of a
/// stream are its last event.
#[utoipa::path(
    post, path = "/v1/completions", tag = "openai", request_body = CompletionRequest,
    responses(
        (status = 200, content((Completion = "application/json"), (Completion = "text/event-stream"))),
        (status = "default", description = "See the error table"),
    )
)]
pub async fn completions(
    State(state): State<AppState>,
    Json(request): Json<CompletionRequest>,
) -> Result<Response, ApiError> {
    let model = state.model_named(request.model.as_deref())?;
    let stream = request.stream.unwrap_or(false);
    let options = request.stream_options.clone().unwrap_or_default();
    let job = submit(&model, state.limits(), request).await?;
    if stream {
        let headers = job.clock.stream_headers(&model.info.device);
        let include_usage = options.include_usage.unwrap_or(false);
        let encoder = ChunkEncoder::new(job.format, job.answers.len(), include_usage);
        return Ok((headers, sse::respond(job.answers, encoder)).into_response());
    }
    let answers = try_join_all(job.answers.into_iter().map(Answer::collect)).await?;
    let headers = job.clock.headers(&model.info.device, &answers);
    Ok((headers, JsonResponse(job.format.whole(answers))).into_response())
}

/// A request that the queue took.
struct Job {
    answers: Vec<Answer>,
    format: Format,
    clock: Clock,
}

async fn submit(
    model: &Model,
    limits: &Limits,
    mut request: CompletionRequest,
) -> Result<Job, ApiError> {
    let clock = Clock::start();
    let sources = sources(std::mem::take(&mut request.prompt))?;
    let plan = validate::completion(&request, sources.len(), limits)?;
    let characters = sources.iter().map(Source::characters).sum();
    let prompts = try_join_all(sources.into_iter().map(|source| source.encode(model))).await?;
    let clock = clock.validated(characters);
    let mut answers = Vec::new();
    for prompt in &prompts {
        answers.extend(answer::start(model, &plan, prompt, StopText::Drop).await?);
    }
    let format = Format {
        envelope: Envelope::new("cmpl", model),
        logprobs: request.logprobs.is_some(),
        answers_per_prompt: plan.answers as usize,
    };
    Ok(Job {
        answers,
        format,
        clock,
    })
}

/// One prompt as it was sent.
enum Source {
    Text(String),
    Ids(Vec<u32>),
}

impl Source {
    fn characters(&self) -> usize {
        match self {
            Self::Text(text) => text.chars().count(),
            Self::Ids(_) => 0,
        }
    }

    async fn encode(self, model: &Model) -> Result<Vec<u32>, ApiError> {
        match self {
            Self::Text(text) => Ok(model.tokenizer.encode(text, Specials::Add).await?),
            Self::Ids(ids) => match ids.iter().find(|&&id| id >= model.info.vocab_size) {
                None => Ok(ids),
                Some(id) => {
                    let size = model.info.vocab_size;
                    let message = format!("token ids must be below {size}, got {id}");
                    Err(validate::invalid("prompt", message))
                }
            },
        }
    }
}

fn sources(prompt: Prompt) -> Result<Vec<Source>, ApiError> {
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
        return Err(validate::invalid(
            "prompt",
            "prompt is empty, it needs at least 1 token",
        ));
    }
    Ok(sources)
}

/// How answers are written.
struct Format {
    envelope: Envelope,
    logprobs: bool,
    answers_per_prompt: usize,
}

impl Format {
    fn whole(&self, answers: Vec<Completed>) -> Completion {
        let usage = UsageCounter::of(&answers, self.answers_per_prompt);
        let choices = answers.into_iter().enumerate().map(|(index, answer)| {
            let logprobs = self
                .logprobs
                .then(|| Logprobs::default().next(&answer.tokens));
            let reason = answer.outcome.reason.into();
            choice(index, answer.outcome.text, logprobs, Some(reason))
        });
        self.completion(choices.collect(), Some(usage))
    }

    fn completion(&self, choices: Vec<CompletionChoice>, usage: Option<Usage>) -> Completion {
        let envelope = self.envelope.clone();
        Completion {
            id: envelope.id,
            object: "text_completion",
            created: envelope.created,
            model: envelope.model,
            system_fingerprint: envelope.system_fingerprint,
            choices,
            usage,
        }
    }
}

fn choice(
    index: usize,
    text: String,
    logprobs: Option<CompletionLogprobs>,
    finish_reason: Option<FinishReason>,
) -> CompletionChoice {
    let index = u32::try_from(index).expect("choices are bounded by the client batch size");
    CompletionChoice {
        index,
        text,
        logprobs,
        finish_reason,
    }
}

/// Where in its answer the next token's text begins, in characters.
#[derive(Debug, Clone, Default)]
struct Logprobs {
    offset: usize,
}

impl Logprobs {
    fn next(&mut self, tokens: &[TextToken]) -> CompletionLogprobs {
        let mut lists = CompletionLogprobs::default();
        for token in tokens {
            lists.text_offset.push(self.offset);
            self.offset += token.delta.chars().count();
            lists.tokens.push(token.text.clone());
            lists.token_logprobs.push(token.logprob);
            let top = token
                .top
                .iter()
                .map(|top| (top.text.clone(), Value::from(top.logprob)));
            lists.top_logprobs.push(top.collect());
        }
        lists
    }
}

/// Chunks of the same shape as the whole.
struct ChunkEncoder {
    format: Format,
    logprobs: Vec<Logprobs>,
    usage: UsageCounter,
    include_usage: bool,
}

impl ChunkEncoder {
    fn new(format: Format, answers: usize, include_usage: bool) -> Self {
        Self {
            logprobs: vec![Logprobs::default(); answers],
            usage: UsageCounter::new(format.answers_per_prompt),
            format,
            include_usage,
        }
    }

    fn token(&mut self, index: usize, token: TextToken) -> Event {
        let tokens = std::slice::from_ref(&token);
        let logprobs = self
            .format
            .logprobs
            .then(|| self.logprobs[index].next(tokens));
        sse::json(
            &self
                .format
                .completion(vec![choice(index, token.delta, logprobs, None)], None),
        )
    }
}

impl Encode for ChunkEncoder {
    fn progress(&mut self, _index: usize, progress: Progress, frames: &mut Frames) {
        let envelope = &self.format.envelope;
        frames.push_back(openai::progress(envelope, "text_completion", progress));
    }

    fn part(&mut self, index: usize, part: Part, frames: &mut Frames) -> Result<(), ApiError> {
        match part {
            // Held back or inside a character: nothing to tell yet.
            Part::Token(token) if token.delta.is_empty() && !self.format.logprobs => {}
            Part::Token(token) => {
                let frame = self.token(index, token);
                frames.push_back(frame);
            }
            Part::End(outcome) => {
                self.usage.add(index, &outcome);
                let last = choice(index, outcome.rest, None, Some(outcome.reason.into()));
                frames.push_back(sse::json(&self.format.completion(vec![last], None)));
            }
        }
        Ok(())
    }

    fn error(&self, error: &ApiError) -> Event {
        openai::error(error)
    }

    fn finish(&mut self, frames: &mut Frames) {
        if self.include_usage {
            let usage = Some(self.usage.usage());
            frames.push_back(sse::json(&self.format.completion(vec![], usage)));
        }
        frames.push_back(openai::done());
    }
}
