//! `POST /v1/completions`: prompts, continued.

use axum::Json as JsonResponse;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures::future::try_join_all;

use crate::api::answer::{self, Answer};
use crate::api::completion::chunks::ChunkEncoder;
use crate::api::completion::output::Format;
use crate::api::completion::source::sources;
use crate::api::extract::Json;
use crate::api::openai::Envelope;
use crate::api::sse;
use crate::api::stop::StopText;
use crate::api::timing::Clock;
use crate::api::types::completion::{Completion, CompletionRequest};
use crate::api::validate;
use crate::app::AppState;
use crate::config::Limits;
use crate::error::ApiError;
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
    let answers: Vec<_> = answers
        .into_iter()
        .map(|one| job.format.trim(one))
        .collect();
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
    let characters = sources.iter().map(|source| source.characters()).sum();
    let echo = if request.echo == Some(true) {
        Some(try_join_all(sources.iter().map(|source| source.text(model))).await?)
    } else {
        None
    };
    let prompts = try_join_all(sources.into_iter().map(|source| source.encode(model))).await?;
    let clock = clock.validated(characters);
    let mut answers = Vec::new();
    for prompt in &prompts {
        answers.extend(answer::start(model, &plan, prompt, StopText::Drop).await?);
    }
    let format = Format {
        envelope: Envelope::new("cmpl", model),
        logprobs: request.logprobs.is_some(),
        drawn: plan.answers as usize,
        told: request.n.unwrap_or(1) as usize,
        echo,
        prompt_only: request.max_tokens == Some(0),
    };
    Ok(Job {
        answers,
        format,
        clock,
    })
}
