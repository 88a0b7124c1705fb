//! The response object: what was asked, what came out, and how it ended.

use std::time::SystemTime;

use serde_json::Value;
use uuid::Uuid;

use crate::api::answer::Outcome;
use crate::api::conversation::Reader;
use crate::api::openai::unix_seconds;
use crate::api::responses::input;
use crate::api::responses::output::Output;
use crate::api::types::response_object::{
    EventBody, IncompleteDetails, InputTokensDetails, OutputTokensDetails, ResponseError,
    ResponseObject, ResponseStatus, ResponseUsage,
};
use crate::api::types::responses::{InputItem, ResponsesRequest, TextConfig, TextFormat};
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
pub struct Writer {
    /// As it is now.
    pub response: ResponseObject,
    output: Output,
    reader: Reader,
    shelf: Option<Shelf>,
}

impl Writer {
    /// A response that has just begun; it is kept when there is a shelf for it.
    #[must_use]
    pub fn new(
        request: ResponsesRequest,
        model: &Model,
        reader: Reader,
        shelf: Option<Shelf>,
    ) -> Self {
        Self {
            response: begun(request, model, shelf.is_some()),
            output: Output::default(),
            reader,
            shelf,
        }
    }

    /// Takes the next piece of the answer's text.
    pub fn push(&mut self, text: &str, events: &mut Vec<EventBody>) {
        for piece in self.reader.push(text) {
            self.output.push(piece, events);
        }
    }

    /// Ends the response, whose text is complete, and keeps it.
    pub fn end(&mut self, outcome: &Outcome, events: &mut Vec<EventBody>) {
        for piece in self.reader.finish() {
            self.output.push(piece, events);
        }
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

    /// The response as it stands when it fails.
    #[must_use]
    pub fn failed(&self, error: &ApiError) -> ResponseObject {
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
