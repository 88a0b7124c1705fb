//! The response object: what was asked, what came out, and how it ended.

use std::time::SystemTime;

use axum::response::sse::Event;
use serde_json::Value;
use uuid::Uuid;

use crate::api::answer::{Outcome, TextToken};
use crate::api::conversation::{Piece, Reader};
use crate::api::openai::unix_seconds;
use crate::api::responses::input;
use crate::api::responses::output::Output;
use crate::api::sse;
use crate::api::types::openai::TokenLogprob;
use crate::api::types::response_object::{
    EventBody, IncompleteDetails, InputTokensDetails, OutputTokensDetails, ResponseError,
    ResponseEvent, ResponseObject, ResponseStatus, ResponseUsage,
};
use crate::api::types::responses::{InputItem, ResponsesRequest, TextConfig, TextFormat};
use crate::api::writer::Writer;
use crate::app::AppState;
use crate::error::ApiError;
use crate::generation::FinishReason;
use crate::keys::Tenant;
use crate::model::Model;
use crate::response_store::Stored;

/// Where a response is kept once it has ended.
pub struct Shelf {
    /// Owner of the store.
    pub state: AppState,
    /// Whose response it is.
    pub tenant: Tenant,
    /// The conversation that it ends.
    pub items: Vec<InputItem>,
}

/// A response in the making.
pub struct ResponseWriter {
    /// As it is now.
    response: ResponseObject,
    output: Output,
    reader: Reader,
    /// Log probabilities of the tokens whose text is not out yet, where they are asked for.
    logprobs: Option<Vec<TokenLogprob>>,
    shelf: Option<Shelf>,
}

impl ResponseWriter {
    /// A response that has just begun; it is kept when there is a shelf for it.
    #[must_use]
    pub fn new(
        request: ResponsesRequest,
        model: &Model,
        reader: Reader,
        shelf: Option<Shelf>,
    ) -> Self {
        let logprobs = request.includes_logprobs().then(Vec::new);
        Self {
            logprobs,
            response: begun(request, model, shelf.is_some()),
            output: Output::default(),
            reader,
            shelf,
        }
    }

    /// Log probabilities go with the text that they are about; those of a call's tokens are
    /// dropped.
    fn push(&mut self, pieces: Vec<Piece>, events: &mut Vec<EventBody>) {
        for piece in pieces {
            let about = self.logprobs.as_mut().map(std::mem::take);
            self.output.push(piece, about.unwrap_or_default(), events);
        }
    }

    /// The response as it stands when it fails.
    fn broken(&self, error: &ApiError) -> ResponseObject {
        let code = match error {
            ApiError::Overloaded { .. } => "rate_limit_exceeded",
            _ => "server_error",
        };
        ResponseObject {
            status: ResponseStatus::Failed,
            error: Some(ResponseError {
                code,
                message: error.to_string(),
            }),
            output: self.output.items().to_vec(),
            ..self.response.clone()
        }
    }
}

impl Writer for ResponseWriter {
    type Event = EventBody;
    type Whole = ResponseObject;

    fn begin(&self) -> Vec<EventBody> {
        let response = Box::new(self.response.clone());
        let created = EventBody::Created {
            response: response.clone(),
        };
        vec![created, EventBody::InProgress { response }]
    }

    fn token(&mut self, token: &TextToken, events: &mut Vec<EventBody>) {
        if let Some(logprobs) = self.logprobs.as_mut().filter(|_| !token.special) {
            logprobs.push(token.into());
        }
        let pieces = self.reader.push(&token.delta);
        self.push(pieces, events);
    }

    /// Also keeps the response.
    fn end(&mut self, outcome: &Outcome, events: &mut Vec<EventBody>) {
        let mut pieces = self.reader.push(&outcome.rest);
        pieces.extend(self.reader.finish());
        self.push(pieces, events);
        let is_cut = outcome.reason == FinishReason::Length;
        let status = if is_cut {
            ResponseStatus::Incomplete
        } else {
            ResponseStatus::Completed
        };
        self.output.end(status, events);
        let response = &mut self.response;
        response.status = status;
        response.output = self.output.items().to_vec();
        response.usage = Some(usage(outcome));
        if is_cut {
            response.incomplete_details = Some(IncompleteDetails {
                reason: "max_output_tokens",
            });
        } else {
            response.completed_at = Some(unix_seconds(SystemTime::now()));
        }
        if let Some(shelf) = self.shelf.take() {
            shelf.keep(response);
        }
        let response = Box::new(response.clone());
        events.push(if is_cut {
            EventBody::Incomplete { response }
        } else {
            EventBody::Completed { response }
        });
    }

    fn whole(self) -> ResponseObject {
        self.response
    }

    fn frame(sequence_number: u64, body: EventBody) -> Event {
        sse::typed(&ResponseEvent {
            sequence_number,
            body,
        })
    }

    fn failed(&self, number: u64, error: &ApiError) -> Event {
        let response = Box::new(self.broken(error));
        Self::frame(number, EventBody::Failed { response })
    }
}

impl Shelf {
    fn keep(mut self, response: &ResponseObject) {
        self.items.extend(input::output_items(&response.output));
        let stored = Stored {
            response: json(response).into(),
            items: json(&self.items).into(),
        };
        let store = self.state.responses();
        store.put(self.tenant.name(), &response.id, stored);
    }
}

fn json(data: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(data).expect("the response types serialize to JSON")
}

fn begun(request: ResponsesRequest, model: &Model, store: bool) -> ResponseObject {
    let text = request.text.unwrap_or_default();
    ResponseObject {
        id: format!("resp_{}", Uuid::new_v4().simple()),
        object: "response",
        created_at: unix_seconds(SystemTime::now()),
        completed_at: None,
        status: ResponseStatus::InProgress,
        error: None,
        incomplete_details: None,
        instructions: request.instructions,
        max_output_tokens: request.max_output_tokens,
        metadata: request.metadata.unwrap_or_default(),
        model: model.info.model_id.clone(),
        output: vec![],
        parallel_tool_calls: request.parallel_tool_calls.unwrap_or(true),
        previous_response_id: request.previous_response_id,
        store,
        temperature: request.temperature.unwrap_or(1.0),
        text: TextConfig {
            format: Some(text.format.unwrap_or_else(TextFormat::plain)),
            ..text
        },
        tool_choice: request.tool_choice.unwrap_or_else(|| Value::from("auto")),
        tools: request.tools.unwrap_or_default(),
        top_logprobs: request.top_logprobs.unwrap_or(0),
        top_p: request.top_p.unwrap_or(1.0),
        truncation: "disabled",
        background: false,
        user: request.user,
        usage: None,
    }
}

fn usage(outcome: &Outcome) -> ResponseUsage {
    ResponseUsage {
        input_tokens: outcome.prompt_tokens,
        input_tokens_details: InputTokensDetails {
            cached_tokens: outcome.receipt.cached_tokens,
            cache_write_tokens: 0,
        },
        output_tokens: outcome.generated_tokens,
        output_tokens_details: OutputTokensDetails {
            reasoning_tokens: 0,
        },
        total_tokens: outcome.prompt_tokens + outcome.generated_tokens,
    }
}
