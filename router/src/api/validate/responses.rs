//! `/v1/responses`: what this version cannot do is refused, never ignored.

use serde_json::Value;

use super::check::{at_least_one, invalid, refuse, top_n};
use super::openai::OpenAiSampling;
use super::{Names, Plan, grammar};
use crate::api::types::responses::{LOGPROBS, ResponsesRequest};
use crate::config::Limits;
use crate::error::ApiError;

/// Checks a request; input and tools are checked where they become a conversation.
///
/// # Errors
/// The first rule that is broken, with its value and the limit.
pub fn response(request: &ResponsesRequest, limits: &Limits) -> Result<Plan, ApiError> {
    refuse("background", request.background == Some(true))?;
    refuse("prompt", request.prompt.is_some())?;
    refuse("conversation", request.conversation.is_some())?;
    refuse("reasoning", asks_to_reason(request.reasoning.as_ref()))?;
    let mut included = request.include.iter().flatten();
    if let Some(other) = included.find(|what| *what != LOGPROBS) {
        let message = format!("include may hold {LOGPROBS:?} alone, got {other:?}");
        return Err(invalid("include", message));
    }
    let top_logprobs = top_n("top_logprobs", request.top_logprobs, limits)?;
    if top_logprobs > 0 && !request.includes_logprobs() {
        let message = format!("top_logprobs needs include = [{LOGPROBS:?}]");
        return Err(invalid("top_logprobs", message));
    }
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
        top_n_tokens: top_logprobs,
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
