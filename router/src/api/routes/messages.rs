//! `POST /v1/messages` and `/v1/messages/count_tokens`: Anthropic's form of a conversation.

use axum::Json as JsonResponse;
use axum::extract::State;
use axum::response::Response;

use crate::api::answer;
use crate::api::extract::Json;
use crate::api::messages::input;
use crate::api::messages::output::MessageWriter;
use crate::api::stop::StopText;
use crate::api::timing::Clock;
use crate::api::tokenizer::Specials;
use crate::api::types::message_object::{MessageEvent, MessageObject, StopReason, TokenCount};
use crate::api::types::messages::{CountTokensRequest, MessagesRequest};
use crate::api::validate::{self, Delivery, Plan, Room};
use crate::api::writer;
use crate::app::AppState;
use crate::error::ApiError;

/// Continues a conversation.
///
/// # Errors
/// When the request breaks a rule, the template refuses the messages, the queue refuses the
/// request, or the generation fails; a stream then ends with the event `error`.
#[utoipa::path(
    post, path = "/v1/messages", tag = "anthropic", request_body = MessagesRequest,
    responses(
        (status = 200, content((MessageObject = "application/json"), (MessageEvent = "text/event-stream"))),
    )
)]
pub async fn messages(
    State(state): State<AppState>,
    Json(mut request): Json<MessagesRequest>,
) -> Result<Response, ApiError> {
    let clock = Clock::start();
    let model = state.model_named(request.model.as_deref())?;
    let plan = validate::message(&request, state.limits())?;
    let turn = input::conversation(request.take_prompt())?.render(&model, state.limits())?;
    let mut plan = plan.of_turn(&turn)?;
    let clock = clock.validated(turn.text.chars().count());
    let prompt = model
        .tokenizer
        .encode(turn.text.clone(), Specials::Omit)
        .await?;
    let limit = limit_to(&mut plan, prompt.len(), model.room());
    let mut answers = answer::start(&model, &plan, &prompt, StopText::Drop).await?;
    let message = MessageWriter::new(&model, prompt.len(), turn.reader(), limit);
    let delivery = Delivery::of(request.stream);
    let ends = (clock, model.info.device.as_str());
    writer::respond(answers.remove(0), message, delivery, ends).await
}

/// Requests always name a length. Where the context ends before, so does the answer; says which of
/// them limits it. A prompt that leaves no room at all is refused where it is submitted.
fn limit_to(plan: &mut Plan, prompt_tokens: usize, room: Room<'_>) -> StopReason {
    let prompt_tokens = u32::try_from(prompt_tokens).unwrap_or(u32::MAX);
    let left = room.max_total_tokens.saturating_sub(prompt_tokens).max(1);
    if plan.max_new_tokens.is_some_and(|most| most > left) {
        plan.max_new_tokens = Some(left);
        return StopReason::ModelContextWindowExceeded;
    }
    StopReason::MaxTokens
}

/// Counts the tokens of a conversation's prompt.
///
/// # Errors
/// When the request breaks a rule or the template refuses the messages.
#[utoipa::path(
    post, path = "/v1/messages/count_tokens", tag = "anthropic", request_body = CountTokensRequest,
    responses(
        (status = 200, body = TokenCount),
    )
)]
pub async fn count_tokens(
    State(state): State<AppState>,
    Json(request): Json<CountTokensRequest>,
) -> Result<JsonResponse<TokenCount>, ApiError> {
    let model = state.model_named(request.model.as_deref())?;
    let turn = input::conversation(request)?.render(&model, state.limits())?;
    let prompt = model.tokenizer.encode(turn.text, Specials::Omit).await?;
    let input_tokens = prompt.len();
    Ok(JsonResponse(TokenCount { input_tokens }))
}
