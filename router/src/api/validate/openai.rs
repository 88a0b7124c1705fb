//! `/v1` parameters: OpenAI's rules. What this version cannot do is refused, never ignored.

use std::collections::BTreeMap;

use super::check::{
    above_zero, at_least_one, at_most, invalid, one_end, refuse, share, stop_strings, top_n, within,
};
use super::{Names, Plan, grammar};
use crate::api::types::chat::ChatRequest;
use crate::api::types::completion::CompletionRequest;
use crate::api::types::openai::{OneOrMany, StreamOptions};
use crate::config::Limits;
use crate::error::ApiError;
use crate::limits::LimitName;
use crate::request::Sampling;

/// Sampling as OpenAI's clients say it.
#[derive(Debug, Default)]
pub(super) struct OpenAiSampling {
    pub(super) temperature: Option<f32>,
    pub(super) top_p: Option<f32>,
    pub(super) top_k: Option<i64>,
    pub(super) repetition_penalty: Option<f32>,
    pub(super) frequency_penalty: Option<f32>,
    pub(super) presence_penalty: Option<f32>,
}

/// Checks a chat request; messages and tools are checked where they become a conversation.
///
/// # Errors
/// The first rule that is broken, with its value and the limit.
pub fn chat(request: &ChatRequest, limits: &Limits) -> Result<Plan, ApiError> {
    refuse_unsupported(request)?;
    let top_logprobs = top_n("top_logprobs", request.top_logprobs, limits)?;
    if top_logprobs > 0 && request.logprobs != Some(true) {
        return Err(invalid(
            "top_logprobs",
            "top_logprobs needs logprobs = true",
        ));
    }
    refuse_minimum(request.min_p, request.min_tokens)?;
    let longest = at_least_one("max_tokens", request.max_tokens)?;
    let longest = at_least_one("max_completion_tokens", request.max_completion_tokens)?.or(longest);
    let sampling = OpenAiSampling {
        temperature: request.temperature,
        top_p: request.top_p,
        top_k: request.top_k,
        repetition_penalty: request.repetition_penalty,
        frequency_penalty: request.frequency_penalty,
        presence_penalty: request.presence_penalty,
    };
    Ok(Plan {
        sampling: sampling.check()?,
        seed: request.seed.map(i64::cast_unsigned),
        max_new_tokens: longest,
        stop: stop_strings("stop", stop_list(request.stop.clone()), limits)?,
        top_n_tokens: top_logprobs,
        logit_bias: logit_bias(request.logit_bias.as_ref(), limits)?,
        ignore_eos: request.ignore_eos == Some(true),
        answers: choices(request.n, limits)?,
        grammar: grammar::response_format(request.response_format.as_ref())?,
        names: Names {
            prompt: "messages",
            length: match request.max_completion_tokens {
                Some(_) => "max_completion_tokens",
                None => "max_tokens",
            },
        },
        progress: wants_progress(request.stream, request.stream_options.as_ref()),
        ..Plan::default()
    })
}

fn refuse_unsupported(request: &ChatRequest) -> Result<(), ApiError> {
    for (name, value, instead) in [
        ("functions", &request.functions, "tools"),
        ("function_call", &request.function_call, "tool_choice"),
    ] {
        if value.is_some() {
            let message = format!("{name} is not supported; send {instead}, which took its place");
            return Err(invalid(name, message));
        }
    }
    let modalities = request.modalities.as_deref().unwrap_or_default();
    let other_than = |value: &Option<String>, only| value.as_deref().is_some_and(|it| it != only);
    refuse("modalities", modalities.iter().any(|kind| kind != "text"))?;
    refuse("audio", request.audio.is_some())?;
    refuse("web_search_options", request.web_search_options.is_some())?;
    refuse(
        "reasoning_effort",
        other_than(&request.reasoning_effort, "none"),
    )?;
    refuse("verbosity", other_than(&request.verbosity, "medium"))?;
    refuse("store", request.store == Some(true))?;
    refuse("chat_template", request.chat_template.is_some())
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
    let most = limits.max_client_batch_size;
    if prompts > most {
        let message = format!("prompt must have at most {most} prompts, got {prompts}");
        return Err(ApiError::beyond(LimitName::Prompts, "prompt", message));
    }
    let suffix = request.suffix.as_deref().unwrap_or_default();
    refuse("suffix", !suffix.is_empty())?;
    refuse_minimum(request.min_p, request.min_tokens)?;
    let echo = request.echo == Some(true);
    let grammar = grammar::response_format(request.response_format.as_ref())?;
    one_end(request.ignore_eos == Some(true), grammar.as_ref())?;
    let sampling = OpenAiSampling {
        temperature: request.temperature,
        top_p: request.top_p,
        top_k: request.top_k,
        repetition_penalty: request.repetition_penalty,
        frequency_penalty: request.frequency_penalty,
        presence_penalty: request.presence_penalty,
    };
    Ok(Plan {
        sampling: sampling.check()?,
        seed: request.seed.map(i64::cast_unsigned),
        max_new_tokens: completion_length(request.max_tokens, echo)?,
        stop: stop_strings("stop", stop_list(request.stop.clone()), limits)?,
        top_n_tokens: top_n("logprobs", request.logprobs, limits)?,
        logit_bias: logit_bias(request.logit_bias.as_ref(), limits)?,
        ignore_eos: request.ignore_eos == Some(true),
        answers: best_of(request, limits)?,
        grammar,
        names: Names {
            prompt: "prompt",
            length: "max_tokens",
        },
        prompt_logprobs: echo && request.logprobs.is_some(),
        progress: wants_progress(request.stream, request.stream_options.as_ref()),
        ..Plan::default()
    })
}

/// No tokens at all make sense where the prompt is to be told. The engine always draws one, which
/// is then left out.
fn completion_length(max_tokens: Option<u32>, echo: bool) -> Result<Option<u32>, ApiError> {
    match max_tokens {
        Some(0) if echo => Ok(Some(1)),
        Some(0) => Err(invalid(
            "max_tokens",
            "max_tokens must be at least 1, got 0; 0 needs echo = true",
        )),
        _ => Ok(max_tokens),
    }
}

/// Answers to draw for each prompt: `n`, or more for a choice among them.
fn best_of(request: &CompletionRequest, limits: &Limits) -> Result<u32, ApiError> {
    let n = choices(request.n, limits)?;
    let drawn = at_least_one("best_of", request.best_of)?.unwrap_or(n);
    let drawn = at_most(
        LimitName::BestOf,
        "best_of",
        drawn,
        limits.max_best_of.max(n),
    )?;
    let reason = match drawn {
        _ if drawn < n => format!("must be at least n, which is {n}"),
        _ if drawn > n && request.stream == Some(true) => {
            "cannot be streamed; leave it out, or ask for the whole answer".to_owned()
        }
        _ => return Ok(drawn),
    };
    Err(invalid("best_of", format!("best_of = {drawn} {reason}")))
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
            top_p: share("top_p", self.top_p)?.unwrap_or(1.0),
            top_k: top_k(self.top_k)?,
            repetition_penalty: above_zero("repetition_penalty", self.repetition_penalty)?
                .unwrap_or(1.0),
            frequency_penalty: within("frequency_penalty", self.frequency_penalty, -2.0..=2.0)?,
            presence_penalty: within("presence_penalty", self.presence_penalty, -2.0..=2.0)?,
            ..Sampling::default()
        })
    }
}

/// Other servers write "all" in two ways.
fn top_k(sent: Option<i64>) -> Result<u32, ApiError> {
    let Some(sent) = sent.filter(|&sent| sent != -1) else {
        return Ok(0);
    };
    u32::try_from(sent).map_err(|_| {
        let message = format!("top_k must be from -1 to {}, got {sent}", u32::MAX);
        invalid("top_k", message)
    })
}

fn refuse_minimum(min_p: Option<f32>, min_tokens: Option<u32>) -> Result<(), ApiError> {
    refuse("min_p", min_p.is_some_and(|share| share != 0.0))?;
    refuse("min_tokens", min_tokens.is_some_and(|tokens| tokens > 0))
}

fn wants_progress(stream: Option<bool>, options: Option<&StreamOptions>) -> bool {
    stream == Some(true) && options.is_some_and(|options| options.prefill_progress == Some(true))
}

fn logit_bias(
    sent: Option<&BTreeMap<String, f32>>,
    limits: &Limits,
) -> Result<Vec<(u32, f32)>, ApiError> {
    let (given, most) = (sent.map_or(0, BTreeMap::len), limits.max_logit_bias);
    if given > most {
        let message = format!("logit_bias may have at most {most} tokens, got {given}");
        return Err(ApiError::beyond(
            LimitName::LogitBiases,
            "logit_bias",
            message,
        ));
    }
    let refused = |message: String| invalid("logit_bias", message);
    let sent = sent.into_iter().flatten();
    sent.map(|(id, &bias)| match id.parse() {
        Err(_) => Err(refused(format!(
            "logit_bias needs token ids as keys, got {id:?}"
        ))),
        Ok(_) if !(-100.0..=100.0).contains(&bias) => Err(refused(format!(
            "logit_bias must be from -100 to 100, got {bias} for {id}"
        ))),
        Ok(id) => Ok((id, bias)),
    })
    .collect()
}

/// Answers to each prompt.
fn choices(answers: Option<u32>, limits: &Limits) -> Result<u32, ApiError> {
    let answers = at_least_one("n", answers)?.unwrap_or(1);
    at_most(LimitName::Choices, "n", answers, limits.max_n)
}

fn stop_list(stop: Option<OneOrMany>) -> Vec<String> {
    stop.map_or_else(Vec::new, OneOrMany::into_vec)
}
