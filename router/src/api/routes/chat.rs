//! `POST /v1/chat/completions`: the assistant's next message.

use axum::Json as JsonResponse;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures::future::try_join_all;

use crate::api::answer::{Answer, Completed};
use crate::api::chat::chunks::{ChunkEncoder, chat_logprobs, finish_reason};
use crate::api::chat::job::{self, Job};
use crate::api::conversation::{Reader, ToolCall, Turn};
use crate::api::extract::Json;
use crate::api::openai::{Envelope, UsageCounter};
use crate::api::sse;
use crate::api::types::chat::{
    AssistantMessage, CalledFunction, ChatChoice, ChatChunk, ChatCompletion, ChatRequest,
    ToolCallObject,
};
use crate::api::validate::Delivery;
use crate::app::AppState;
use crate::error::ApiError;

/// Continues a conversation.
///
/// # Errors
/// When the request breaks a rule, the template refuses the messages, the queue refuses the
/// request, or the generation fails; errors of a stream are its last event.
#[utoipa::path(
    post, path = "/v1/chat/completions", tag = "openai", request_body = ChatRequest,
    responses(
        (status = 200, content((ChatCompletion = "application/json"), (ChatChunk = "text/event-stream"))),
    )
)]
pub async fn chat_completions(
    State(state): State<AppState>,
    Json(request): Json<ChatRequest>,
) -> Result<Response, ApiError> {
    let model = state.model_named(request.model.as_deref())?;
    let logprobs = request.logprobs.unwrap_or(false);
    let delivery = Delivery::of(request.stream);
    let options = request.stream_options.clone().unwrap_or_default();
    let Job {
        answers,
        turn,
        clock,
    } = job::submit(&model, state.limits(), request).await?;
    let envelope = Envelope::new("chatcmpl", &model);
    if delivery == Delivery::Stream {
        let include_usage = options.include_usage.unwrap_or(false);
        let readers = answers.iter().map(|_| turn.reader()).collect();
        let encoder = ChunkEncoder::new(envelope, readers, logprobs, include_usage);
        let headers = clock.stream_headers(&model.info.device);
        return Ok((headers, sse::respond(answers, encoder)).into_response());
    }
    let answers = try_join_all(answers.into_iter().map(Answer::collect)).await?;
    let headers = clock.headers(&model.info.device, &answers);
    Ok((
        headers,
        JsonResponse(response(envelope, answers, &turn, logprobs)),
    )
        .into_response())
}

fn response(
    envelope: Envelope,
    answers: Vec<Completed>,
    turn: &Turn,
    logprobs: bool,
) -> ChatCompletion {
    let answers_per_prompt = answers.len();
    ChatCompletion {
        id: envelope.id,
        object: "chat.completion",
        created: envelope.created,
        model: envelope.model,
        system_fingerprint: envelope.system_fingerprint,
        usage: UsageCounter::of(&answers, answers_per_prompt),
        choices: (0..)
            .zip(answers)
            .map(|(index, answer)| choice(index, answer, turn.reader(), logprobs))
            .collect(),
    }
}

fn choice(index: u32, answer: Completed, reader: Reader, logprobs: bool) -> ChatChoice {
    let reply = reader.read(&answer.outcome.text);
    let is_call = !reply.calls.is_empty();
    ChatChoice {
        index,
        logprobs: logprobs.then(|| chat_logprobs(&answer.tokens)),
        finish_reason: finish_reason(answer.outcome.reason, is_call),
        message: AssistantMessage {
            role: "assistant",
            content: Some(reply.text).filter(|text| !is_call || !text.is_empty()),
            tool_calls: reply.calls.into_iter().map(call).collect(),
        },
    }
}

fn call(call: ToolCall) -> ToolCallObject {
    ToolCallObject {
        id: call.id,
        r#type: "function",
        function: CalledFunction {
            name: call.name,
            arguments: call.arguments,
        },
    }
}
