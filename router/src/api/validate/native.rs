//! Native parameters: TGI's rules, with 1 allowed for `top_p` and `typical_p`.

use super::check::{
    above_zero, at_least_one, at_most, invalid, one_end, share, stop_strings, top_n, within,
};
use super::{Delivery, Names, Plan, grammar};
use crate::api::types::native::Parameters;
use crate::config::Limits;
use crate::error::ApiError;
use crate::limits::LimitName;
use crate::request::Sampling;

/// Checks the parameters of a native request.
///
/// # Errors
/// The first rule that is broken, with its value and the limit.
pub fn native(p: &Parameters, delivery: Delivery, limits: &Limits) -> Result<Plan, ApiError> {
    let prompt_logprobs = p.decoder_input_details == Some(true);
    if prompt_logprobs && delivery == Delivery::Stream {
        let reason =
            "decoder_input_details cannot be streamed; leave it out, or ask for the whole answer";
        return Err(invalid("decoder_input_details", reason));
    }
    let progress = p.prefill_progress == Some(true);
    if progress && delivery == Delivery::Whole {
        return Err(invalid(
            "prefill_progress",
            "prefill_progress needs a stream",
        ));
    }
    if let Some(id) = p.adapter_id.as_ref().filter(|id| !id.is_empty()) {
        return Err(ApiError::AdapterNotFound(id.clone()));
    }
    let sampling = native_sampling(p)?;
    let grammar = grammar::native(p.grammar.as_ref())?;
    let ignore_eos = p.ignore_eos.unwrap_or(false);
    one_end(ignore_eos, grammar.as_ref())?;
    let answers = best_of(p, sampling.temperature > 0.0, delivery, limits)?;
    Ok(Plan {
        sampling,
        seed: p.seed,
        max_new_tokens: at_least_one("max_new_tokens", p.max_new_tokens)?,
        truncate: at_least_one("truncate", p.truncate)?,
        stop: stop_strings("stop", p.stop.clone().unwrap_or_default(), limits)?,
        top_n_tokens: top_n("top_n_tokens", p.top_n_tokens, limits)?,
        logit_bias: vec![],
        ignore_eos,
        answers,
        marks: vec![],
        grammar,
        prompt_logprobs,
        progress,
        watermark: p.watermark == Some(true),
        names: Names::NATIVE,
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
        watermark: None,
    })
}

fn best_of(
    p: &Parameters,
    sampled: bool,
    delivery: Delivery,
    limits: &Limits,
) -> Result<u32, ApiError> {
    let answers = at_most(
        LimitName::BestOf,
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
