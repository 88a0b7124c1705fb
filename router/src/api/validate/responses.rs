//! `/v1/responses`: what this version cannot do is refused, never ignored.

use serde_json::Value;

use super::check::{at_least_one, refuse};
use super::openai::OpenAiSampling;
use super::{Names, Plan, grammar};
use crate::api::types::responses::ResponsesRequest;
use crate::error::ApiError;

/// Checks a request; input and tools are checked where they become a conversation.
///
/// # Errors
/// The first rule that is broken, with its value and the limit.
pub fn response(request: &ResponsesRequest) -> Result<Plan, ApiError> {
    refuse("background", request.background == Some(true))?;
    refuse("prompt", request.prompt.is_some())?;
    refuse("conversation", request.conversation.is_some())?;
    refuse("reasoning", asks_to_reason(request.reasoning.as_ref()))?;
    refuse(
        "include",
        request
            .include
            .as_ref()
            .is_some_and(|include| !include.is_empty()),
    )?;
    refuse(
        "top_logprobs",
        request.top_logprobs.is_some_and(|top| top > 0),
    )?;
    let truncation = request.truncation.as_deref();
    refuse(
        "truncation",
        truncation.is_some_and(|how| how != "disabled"),
    )?;
    let text = request.text.as_ref();
    let verbosity = text.and_then(|text| text.verbosity.as_deref());
    refuse(
        "text.verbosity",
        verbosity.is_some_and(|verbosity| verbosity != "medium"),
    )?;
    let sampling = OpenAiSampling {
        temperature: request.temperature,
        top_p: request.top_p,
        ..OpenAiSampling::default()
    };
    let format = text.and_then(|text| text.format.as_ref());
    Ok(Plan {
        grammar: grammar::text_format(format)?,
        names: Names {
            prompt: "input",
            length: "max_output_tokens",
        },
        sampling: sampling.check()?,
        max_new_tokens: at_least_one("max_output_tokens", request.max_output_tokens)?,
        ..Plan::default()
    })
}

/// Whether any member of the object is set.
fn asks_to_reason(reasoning: Option<&Value>) -> bool {
    match reasoning {
        Some(Value::Object(members)) => members.values().any(|member| !member.is_null()),
        Some(_) => true,
        None => false,
    }
}
