//! `POST /vertex`: where Google Vertex AI sends requests, several at once.

use axum::Json as JsonResponse;
use axum::extract::State;
use futures::future::try_join_all;

use crate::api::answer::Answer;
use crate::api::chat::job as chat;
use crate::api::extract::Json;
use crate::api::native;
use crate::api::types::hosts::{AnyRequest, VertexRequest, VertexResponse};
use crate::api::validate::{Delivery, invalid};
use crate::app::AppState;
use crate::error::ApiError;

/// Answers every request with its text; of a chat, calls of tools included.
///
/// # Errors
/// When there are too many requests or none, one of them cannot be answered with one text, or what
/// `/generate` and `/v1/chat/completions` fail with.
#[utoipa::path(
    post, path = "/vertex", tag = "hosts", request_body = VertexRequest,
    responses((status = 200, body = VertexResponse))
)]
pub async fn vertex(
    State(state): State<AppState>,
    Json(request): Json<VertexRequest>,
) -> Result<JsonResponse<VertexResponse>, ApiError> {
    let (given, most) = (
        request.instances.len(),
        state.limits().max_client_batch_size,
    );
    if given == 0 || given > most {
        let message = format!("instances must have 1 to {most} entries, got {given}");
        return Err(invalid("instances", message));
    }
    let mut taken = Vec::with_capacity(given);
    for instance in request.instances {
        taken.push(submit(&state, instance).await?);
    }
    let predictions = try_join_all(taken.into_iter().map(Taken::text)).await?;
    Ok(JsonResponse(VertexResponse { predictions }))
}

/// A request that the queue took.
enum Taken {
    Generate(native::Job),
    Chat(Box<Answer>),
}

async fn submit(state: &AppState, instance: AnyRequest) -> Result<Taken, ApiError> {
    let limits = state.limits();
    match instance {
        AnyRequest::Generate(request) => {
            refuse_stream(request.stream)?;
            let model = state.model()?;
            let job = native::submit(&model, limits, *request, Delivery::Whole).await?;
            Ok(Taken::Generate(job))
        }
        AnyRequest::Chat(request) => {
            refuse_stream(request.stream)?;
            let model = state.model_named(request.model.as_deref())?;
            if request.n.is_some_and(|n| n > 1) {
                return Err(invalid("n", "n must be 1 here: a prediction is one text"));
            }
            let mut job = chat::submit(&model, limits, *request).await?;
            Ok(Taken::Chat(Box::new(job.answers.remove(0))))
        }
        AnyRequest::Completion(_) => Err(invalid("instances", "instances need inputs or messages")),
    }
}

fn refuse_stream(stream: Option<bool>) -> Result<(), ApiError> {
    if stream == Some(true) {
        return Err(invalid(
            "stream",
            "stream must be false here: a prediction is one text",
        ));
    }
    Ok(())
}

impl Taken {
    async fn text(self) -> Result<String, ApiError> {
        match self {
            Self::Generate(job) => {
                let (answers, shape) = job.complete().await?;
                Ok(native::response(answers, &shape).generated_text)
            }
            Self::Chat(answer) => Ok(answer.collect().await?.outcome.text),
        }
    }
}
