//! `/v1/responses`: answers that can be fetched and continued later.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json as JsonResponse};
use http::{HeaderValue, header};

use crate::api::answer;
use crate::api::extract::Json;
use crate::api::responses::input;
use crate::api::responses::object::{ResponseWriter, Shelf};
use crate::api::stop::StopText;
use crate::api::timing::Clock;
use crate::api::tokenizer::Specials;
use crate::api::types::response_object::{DeletedResponse, ResponseEvent, ResponseObject};
use crate::api::types::responses::{InputItem, ResponsesRequest};
use crate::api::validate::{self, Delivery};
use crate::api::writer;
use crate::app::AppState;
use crate::error::ApiError;
use crate::keys::Tenant;
use crate::response_store::Stored;

/// Continues a conversation, sent whole or stored before.
///
/// # Errors
/// When the request breaks a rule, the response before is not stored, the template refuses the
/// messages, the queue refuses the request, or the generation fails; a stream then ends with the
/// event `response.failed`.
#[utoipa::path(
    post, path = "/v1/responses", tag = "openai", operation_id = "create_response",
    request_body = ResponsesRequest,
    responses(
        (status = 200, content((ResponseObject = "application/json"), (ResponseEvent = "text/event-stream"))),
    )
)]
pub async fn create(
    State(state): State<AppState>,
    Extension(tenant): Extension<Tenant>,
    Json(mut request): Json<ResponsesRequest>,
) -> Result<Response, ApiError> {
    let clock = Clock::start();
    let model = state.model_named(request.model.as_deref())?;
    let plan = validate::response(&request, state.limits())?;
    let mut items = history(&state, &tenant, request.previous_response_id.as_deref())?;
    items.extend(input::new_items(request.input.take())?);
    let is_kept = request.store.unwrap_or(true) && state.responses().is_on();
    let shelf = is_kept.then(|| Shelf {
        state: state.clone(),
        tenant: tenant.clone(),
        items: items.clone(),
    });
    let turn = input::conversation(&request, items)?.render(&model, state.limits())?;
    let plan = plan.of_turn(&turn)?;
    let clock = clock.validated(turn.text.chars().count());
    let prompt = model
        .tokenizer
        .encode(turn.text.clone(), Specials::Omit)
        .await?;
    let mut answers = answer::start(&model, &plan, &prompt, StopText::Drop).await?;
    let delivery = Delivery::of(request.stream);
    let response = ResponseWriter::new(request, &model, turn.reader(), shelf);
    let ends = (clock, model.info.device.as_str());
    writer::respond(answers.remove(0), response, delivery, ends).await
}

/// Fetches a stored response.
///
/// # Errors
/// 404 when it is not stored.
#[utoipa::path(
    get, path = "/v1/responses/{id}", tag = "openai", operation_id = "fetch_response",
    params(("id" = String, Path, description = "Id of the response")),
    responses(
        (status = 200, body = ResponseObject),
    )
)]
pub async fn fetch(
    State(state): State<AppState>,
    Extension(tenant): Extension<Tenant>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let stored = stored(&state, &tenant, &text(id)?)?;
    let json = HeaderValue::from_static("application/json");
    Ok(([(header::CONTENT_TYPE, json)], stored.response).into_response())
}

/// Deletes a stored response.
///
/// # Errors
/// 404 when it is not stored.
#[utoipa::path(
    delete, path = "/v1/responses/{id}", tag = "openai", operation_id = "delete_response",
    params(("id" = String, Path, description = "Id of the response")),
    responses(
        (status = 200, body = DeletedResponse),
    )
)]
pub async fn delete(
    State(state): State<AppState>,
    Extension(tenant): Extension<Tenant>,
    id: Result<Path<String>, PathRejection>,
) -> Result<JsonResponse<DeletedResponse>, ApiError> {
    let id = text(id)?;
    if !state.responses().delete(tenant.name(), &id) {
        return Err(ApiError::ResponseNotFound(id));
    }
    Ok(JsonResponse(DeletedResponse {
        id,
        object: "response",
        deleted: true,
    }))
}

/// An id that is no text is nobody's.
fn text(id: Result<Path<String>, PathRejection>) -> Result<String, ApiError> {
    let id = id.map_err(|rejection| ApiError::ResponseNotFound(rejection.body_text()))?;
    Ok(id.0)
}

/// The items of the conversation that a request continues.
fn history(
    state: &AppState,
    tenant: &Tenant,
    previous: Option<&str>,
) -> Result<Vec<InputItem>, ApiError> {
    let Some(id) = previous else {
        return Ok(vec![]);
    };
    let stored = stored(state, tenant, id)?;
    Ok(serde_json::from_slice(&stored.items).expect("items are stored as they are read"))
}

fn stored(state: &AppState, tenant: &Tenant, id: &str) -> Result<Stored, ApiError> {
    let stored = state.responses().get(tenant.name(), id);
    stored.ok_or_else(|| ApiError::ResponseNotFound(id.to_owned()))
}
