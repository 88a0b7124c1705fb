//! `/v1` parameters: OpenAI's rules. What this version cannot do is refused, never ignored.

use serde_json::Value;

use super::check::{above_zero, at_least_one, invalid, refuse, share, stop_strings, top_n, within};
use super::{Plan, grammar};
use crate::api::types::chat::ChatRequest;
use crate::api::types::completion::CompletionRequest;
use crate::api::types::openai::{OneOrMany, StreamOptions};
use crate::config::Limits;
use crate::error::ApiError;
use crate::request::Sampling;

/// Sampling as OpenAI's clients say it.
#[derive(Debug, Default)]
pub(super) struct OpenAiSampling {
    pub(super) temperature: Option<f32>,
    pub(super) top_p: Option<f32>,
    pub(super) repetition_penalty: Option<f32>,
    pub(super) frequency_penalty: Option<f32>,
    pub(super) presence_penalty: Option<f32>,
}

/// Checks a chat request; messages and tools are checked where they become a conversation.
///
/// # Errors
/// The first rule that is broken, with its value and the limit.
pub fn chat(request: &ChatRequest, limits: &Limits) -> Result<Plan, ApiError> {
    refuse("logit_bias", is_given(request.logit_bias.as_ref()))?;
    let top_logprobs = top_n("top_logprobs", request.top_logprobs, limits)?;
    if top_logprobs > 0 && request.logprobs != Some(true) {
        return Err(invalid(
            "top_logprobs",
            "top_logprobs needs logprobs = true",
        ));
    }
    let longest = at_least_one("max_tokens", request.max_tokens)?;
    let longest = at_least_one("max_completion_tokens", request.max_completion_tokens)?.or(longest);
    let sampling = OpenAiSampling {
        temperature: request.temperature,
        top_p: request.top_p,
        repetition_penalty: None,
        frequency_penalty: request.frequency_penalty,
        presence_penalty: request.presence_penalty,
    };
    Ok(Plan {
        sampling: sampling.check()?,
        seed: request.seed.map(i64::cast_unsigned),
        max_new_tokens: longest,
        truncate: None,
        stop: stop_strings("stop", stop_list(request.stop.clone()), limits)?,
        top_n_tokens: top_logprobs,
        ignore_eos: false,
        answers: choices(request.n, 1, limits)?,
        marks: vec![],
        grammar: grammar::response_format(request.response_format.as_ref())?,
        prompt_logprobs: false,
        progress: wants_progress(request.stream, request.stream_options.as_ref()),
        watermark: false,
    })
}

/// Checks a completion request for `prompts` prompts.
///
/// # Errors
/// The first rule that is broken, with its value and the limit.
pub fn completion(
    request: &CompletionRequest,
    prompts: usize,
    limits: &Limits,
) -> Result<Plan, ApiError> {
    refuse(
        "suffix",
        request
            .suffix
            .as_ref()
            .is_some_and(|suffix| !suffix.is_empty()),
    )?;
    refuse("echo", request.echo == Some(true))?;
    refuse(
        "best_of",
        request.best_of.is_some_and(|best_of| best_of != 1),
    )?;
    refuse("logit_bias", is_given(request.logit_bias.as_ref()))?;
    let sampling = OpenAiSampling {
        temperature: request.temperature,
        top_p: request.top_p,
        repetition_penalty: request.repetition_penalty,
        frequency_penalty: request.frequency_penalty,
        presence_penalty: request.presence_penalty,
    };
    Ok(Plan {
        sampling: sampling.check()?,
        seed: request.seed.map(i64::cast_unsigned),
        max_new_tokens: at_least_one("max_tokens", request.max_tokens)?,
        truncate: None,
        stop: stop_strings("stop", stop_list(request.stop.clone()), limits)?,
        top_n_tokens: top_n("logprobs", request.logprobs, limits)?,
        ignore_eos: false,
        answers: choices(request.n, prompts, limits)?,
        marks: vec![],
        grammar: None,
        prompt_logprobs: false,
        progress: wants_progress(request.stream, request.stream_options.as_ref()),
        watermark: false,
    })
}

impl OpenAiSampling {
    pub(super) fn check(&self) -> Result<Sampling, ApiError> {
        let temperature = self.temperature.unwrap_or(1.0);
        if !(0.0..=2.0).contains(&temperature) {
            return Err(invalid(
                "temperature",
                format!("temperature must be from 0 to 2, got {temperature}"),
            ));
        }
        Ok(Sampling {
            temperature,
            top_k: 0,
            top_p: share("top_p", self.top_p)?.unwrap_or(1.0),
            typical_p: 1.0,
            repetition_penalty: above_zero("repetition_penalty", self.repetition_penalty)?
                .unwrap_or(1.0),
            frequency_penalty: within("frequency_penalty", self.frequency_penalty, -2.0..=2.0)?,
            presence_penalty: within("presence_penalty", self.presence_penalty, -2.0..=2.0)?,
            seed: 0,
            watermark: None,
        })
    }
}

fn wants_progress(stream: Option<bool>, options: Option<&StreamOptions>) -> bool {
    stream == Some(true) && options.is_some_and(|options| options.prefill_progress == Some(true))
}

/// Whether an optional list or object asks for anything.
fn is_given(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => false,
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(entries)) => !entries.is_empty(),
        Some(_) => true,
    }
}

/// Answers a prompt, when a request has `prompts` of them.
fn choices(n: Option<u32>, prompts: usize, limits: &Limits) -> Result<u32, ApiError> {
    let n = at_least_one("n", n)?.unwrap_or(1);
    let (choices, most) = (
        prompts.saturating_mul(n as usize),
        limits.max_client_batch_size,
    );
    if choices > most {
        let message = format!("prompts * n must be at most {most}, got {prompts} * {n}");
        return Err(invalid("n", message));
    }
    Ok(n)
}

fn stop_list(stop: Option<OneOrMany>) -> Vec<String> {
    stop.map_or_else(Vec::new, OneOrMany::into_vec)
}
