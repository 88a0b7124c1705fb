//! From what a client sent to what the engine is asked, as pure functions: first everything that
//! can be decided without tokens (`native`, `chat`, `completion` make a [`Plan`]), then, with the
//! tokens of the prompt, whether it fits ([`Plan::fit`]).

use std::ops::RangeInclusive;

use serde_json::Value;

use crate::api::types::chat::ChatRequest;
use crate::api::types::completion::CompletionRequest;
use crate::api::types::native::Parameters;
use crate::api::types::openai::OneOrMany;
use crate::config::Limits;
use crate::error::ApiError;
use crate::request::{Sampling, ValidRequest};

/// A request's decisions; lacks only the tokens of its prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// How tokens are drawn; the seed is 0 unless `seed` says otherwise.
    pub sampling: Sampling,
    /// The seed that the client chose.
    pub seed: Option<u64>,
    /// Most tokens to generate; `None` means what the context has room for.
    pub max_new_tokens: Option<u32>,
    /// How many of the prompt's last tokens to keep; `None` means all.
    pub truncate: Option<u32>,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// Most likely tokens to report at each position.
    pub top_n_tokens: u32,
    /// Whether an end-of-text token does not end the answer.
    pub ignore_eos: bool,
    /// Answers to draw for each prompt, at least 1.
    pub answers: u32,
}

/// What a model has room for.
#[derive(Debug, Clone, Copy)]
pub struct Room<'a> {
    /// Longest prompt, in tokens.
    pub max_input_tokens: u32,
    /// Longest prompt and answer together, in tokens.
    pub max_total_tokens: u32,
    /// Ids that end an answer.
    pub eos_token_ids: &'a [u32],
}

/// How an answer is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// When it is complete.
    Whole,
    /// Token by token.
    Stream,
}

/// Sampling as OpenAI's clients say it.
struct OpenAiSampling {
    temperature: Option<f32>,
    top_p: Option<f32>,
    repetition_penalty: Option<f32>,
    frequency_penalty: Option<f32>,
    presence_penalty: Option<f32>,
}

impl Plan {
    /// Whether tokens are drawn at random.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.sampling.temperature > 0.0
    }

    /// The request for answer number `answer`, whose generator is keyed by `seed` and that number.
    ///
    /// # Errors
    /// When the prompt is empty, or does not fit together with the answer.
    pub fn fit(
        &self,
        mut tokens: Vec<u32>,
        (seed, answer): (u64, u32),
        room: Room<'_>,
    ) -> Result<ValidRequest, ApiError> {
        if let Some(keep) = self.truncate {
            at_most("truncate", keep, room.max_input_tokens)?;
            tokens.drain(..tokens.len().saturating_sub(keep as usize));
        }
        let max_new_tokens = max_new_tokens(tokens.len(), self.max_new_tokens, room)?;
        let seed = if self.is_sampled() {
            seed.wrapping_add(u64::from(answer))
        } else {
            0
        };
        let stop_token_ids = if self.ignore_eos {
            vec![]
        } else {
            room.eos_token_ids.to_vec()
        };
        Ok(ValidRequest {
            tokens,
            max_new_tokens,
            sampling: Sampling {
                seed,
                ..self.sampling
            },
            stop_token_ids,
            top_n_tokens: self.top_n_tokens,
        })
    }
}

/// Room for the answer to a prompt of `input` tokens, when `wanted` are asked for.
fn max_new_tokens(input: usize, wanted: Option<u32>, room: Room<'_>) -> Result<u32, ApiError> {
    let (longest, total) = (room.max_input_tokens, room.max_total_tokens);
    if input == 0 {
        return Err(invalid(
            "inputs",
            "the prompt has no tokens, it needs at least 1",
        ));
    }
    let fitting = u32::try_from(input)
        .ok()
        .filter(|&input| input <= longest && input < total);
    let Some(input) = fitting else {
        let limit = longest.min(total.saturating_sub(1));
        return Err(invalid(
            "inputs",
            format!(
                "the prompt has {input} tokens, the limit is {limit}; shorten it or set truncate"
            ),
        ));
    };
    match wanted {
        None => Ok(total - input),
        Some(wanted) if wanted <= total - input => Ok(wanted),
        Some(wanted) => Err(invalid(
            "max_new_tokens",
            format!(
                "prompt tokens + max_new_tokens must be at most {total}, got {input} + {wanted}; \
                 shorten the prompt or ask for fewer tokens"
            ),
        )),
    }
}

/// Checks the parameters of a native request.
///
/// # Errors
/// The first rule that is broken, with its value and the limit.
pub fn native(p: &Parameters, delivery: Delivery, limits: &Limits) -> Result<Plan, ApiError> {
    refuse("watermark", p.watermark == Some(true))?;
    refuse(
        "decoder_input_details",
        p.decoder_input_details == Some(true),
    )?;
    refuse("grammar", p.grammar.is_some())?;
    refuse(
        "adapter_id",
        p.adapter_id.as_ref().is_some_and(|id| !id.is_empty()),
    )?;
    let sampling = native_sampling(p)?;
    let answers = best_of(p, sampling.temperature > 0.0, delivery, limits)?;
    Ok(Plan {
        sampling,
        seed: p.seed,
        max_new_tokens: at_least_one("max_new_tokens", p.max_new_tokens)?,
        truncate: at_least_one("truncate", p.truncate)?,
        stop: stop_strings(p.stop.clone().unwrap_or_default(), limits)?,
        top_n_tokens: top_n("top_n_tokens", p.top_n_tokens, limits)?,
        ignore_eos: p.ignore_eos.unwrap_or(false),
        answers,
    })
}

fn native_sampling(p: &Parameters) -> Result<Sampling, ApiError> {
    let temperature = above_zero("temperature", p.temperature)?;
    let top_k = at_least_one("top_k", p.top_k)?;
    let top_p = share("top_p", p.top_p)?;
    let typical_p = share("typical_p", p.typical_p)?;
    let implied =
        temperature.is_some() || top_k.is_some() || top_p.is_some() || typical_p.is_some();
    let sampled = implied || p.do_sample == Some(true);
    Ok(Sampling {
        temperature: if sampled {
            temperature.unwrap_or(1.0)
        } else {
            0.0
        },
        top_k: top_k.unwrap_or(0),
        top_p: top_p.unwrap_or(1.0),
        typical_p: typical_p.unwrap_or(1.0),
        repetition_penalty: above_zero("repetition_penalty", p.repetition_penalty)?.unwrap_or(1.0),
        frequency_penalty: within("frequency_penalty", p.frequency_penalty, -2.0..=2.0)?,
        presence_penalty: 0.0,
        seed: 0,
    })
}

fn best_of(
    p: &Parameters,
    sampled: bool,
    delivery: Delivery,
    limits: &Limits,
) -> Result<u32, ApiError> {
    let answers = at_most(
        "best_of",
        at_least_one("best_of", p.best_of)?.unwrap_or(1),
        limits.max_best_of,
    )?;
    let reason = match answers {
        1 => return Ok(1),
        _ if !sampled => "needs sampling: set do_sample or temperature",
        _ if p.seed.is_some() => "draws several answers and cannot be combined with seed",
        _ if delivery == Delivery::Stream => "cannot be streamed",
        _ => return Ok(answers),
    };
    Err(invalid("best_of", format!("best_of = {answers} {reason}")))
}

/// Checks a chat request; `messages` are checked where they become text.
///
/// # Errors
/// The first rule that is broken, with its value and the limit.
pub fn chat(request: &ChatRequest, limits: &Limits) -> Result<Plan, ApiError> {
    refuse("tools", is_given(request.tools.as_ref()))?;
    refuse("logit_bias", is_given(request.logit_bias.as_ref()))?;
    check_response_format(request.response_format.as_ref())?;
    check_tool_choice(request.tool_choice.as_ref())?;
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
        stop: stop_strings(stop_list(request.stop.clone()), limits)?,
        top_n_tokens: top_logprobs,
        ignore_eos: false,
        answers: choices(request.n, 1, limits)?,
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
        stop: stop_strings(stop_list(request.stop.clone()), limits)?,
        top_n_tokens: top_n("logprobs", request.logprobs, limits)?,
        ignore_eos: false,
        answers: choices(request.n, prompts, limits)?,
    })
}

impl OpenAiSampling {
    fn check(&self) -> Result<Sampling, ApiError> {
        let temperature = self.temperature.unwrap_or(1.0);
        if !(temperature >= 0.0 && temperature.is_finite()) {
            return Err(invalid(
                "temperature",
                format!("temperature must be 0 or more, got {temperature}"),
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
        })
    }
}

fn check_response_format(format: Option<&Value>) -> Result<(), ApiError> {
    let kind = format.map(|format| {
        format
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default()
    });
    refuse("response_format", kind.is_some_and(|kind| kind != "text"))
}

fn check_tool_choice(choice: Option<&Value>) -> Result<(), ApiError> {
    let choice = choice.map(|choice| choice.as_str().unwrap_or_default());
    refuse(
        "tool_choice",
        choice.is_some_and(|choice| !matches!(choice, "none" | "auto")),
    )
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

fn stop_strings(stop: Vec<String>, limits: &Limits) -> Result<Vec<String>, ApiError> {
    let (most, longest) = (limits.max_stop_sequences, limits.max_stop_bytes);
    if stop.len() > most {
        let message = format!("stop must have at most {most} strings, got {}", stop.len());
        return Err(invalid("stop", message));
    }
    if stop.iter().any(String::is_empty) {
        return Err(invalid("stop", "a stop string must not be empty"));
    }
    if let Some(long) = stop.iter().find(|stop| stop.len() > longest) {
        let message = format!(
            "a stop string must have at most {longest} bytes, got {}",
            long.len()
        );
        return Err(invalid("stop", message));
    }
    Ok(stop)
}

fn top_n(name: &'static str, value: Option<u32>, limits: &Limits) -> Result<u32, ApiError> {
    at_most(name, value.unwrap_or(0), limits.max_top_n_tokens)
}

fn at_most(name: &'static str, value: u32, most: u32) -> Result<u32, ApiError> {
    if value > most {
        return Err(invalid(
            name,
            format!("{name} must be at most {most}, got {value}"),
        ));
    }
    Ok(value)
}

fn at_least_one(name: &'static str, value: Option<u32>) -> Result<Option<u32>, ApiError> {
    if value == Some(0) {
        return Err(invalid(name, format!("{name} must be at least 1, got 0")));
    }
    Ok(value)
}

fn above_zero(name: &'static str, value: Option<f32>) -> Result<Option<f32>, ApiError> {
    match value {
        Some(value) if !(value > 0.0 && value.is_finite()) => Err(invalid(
            name,
            format!("{name} must be above 0, got {value}"),
        )),
        value => Ok(value),
    }
}

/// A probability mass; 1 keeps everything.
fn share(name: &'static str, value: Option<f32>) -> Result<Option<f32>, ApiError> {
    match value {
        Some(value) if !(value > 0.0 && value <= 1.0) => Err(invalid(
            name,
            format!("{name} must be above 0 and at most 1, got {value}"),
        )),
        value => Ok(value),
    }
}

/// A number that is 0 by default.
fn within(
    name: &'static str,
    value: Option<f32>,
    range: RangeInclusive<f32>,
) -> Result<f32, ApiError> {
    let value = value.unwrap_or(0.0);
    if !range.contains(&value) {
        let (least, most) = range.into_inner();
        return Err(invalid(
            name,
            format!("{name} must be from {least} to {most}, got {value}"),
        ));
    }
    Ok(value)
}

fn refuse(name: &'static str, asked_for: bool) -> Result<(), ApiError> {
    if asked_for {
        let message = format!("{name} is not supported by this version; leave it out");
        return Err(invalid(name, message));
    }
    Ok(())
}

/// A broken rule about the parameter `name`.
pub(crate) fn invalid(name: &'static str, message: impl Into<String>) -> ApiError {
    ApiError::invalid(name, message)
}

#[cfg(test)]
mod tests;
