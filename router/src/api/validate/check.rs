//! Single rules. Each error names the parameter, its value and the limit.

use std::ops::RangeInclusive;

use crate::config::Limits;
use crate::error::ApiError;
use crate::grammar::Grammar;
use crate::limits::LimitName;

pub(super) fn stop_strings(
    name: &'static str,
    stop: Vec<String>,
    limits: &Limits,
) -> Result<Vec<String>, ApiError> {
    let (most, longest) = (limits.max_stop_sequences, limits.max_stop_bytes);
    if stop.len() > most {
        let message = format!(
            "{name} must have at most {most} strings, got {}",
            stop.len()
        );
        return Err(ApiError::beyond(LimitName::StopSequences, name, message));
    }
    if stop.iter().any(String::is_empty) {
        return Err(invalid(name, "a stop string must not be empty"));
    }
    if let Some(long) = stop.iter().find(|stop| stop.len() > longest) {
        let message = format!(
            "a stop string must have at most {longest} bytes, got {}",
            long.len()
        );
        return Err(ApiError::beyond(LimitName::StopBytes, name, message));
    }
    Ok(stop)
}

pub(super) fn top_n(
    name: &'static str,
    value: Option<u32>,
    limits: &Limits,
) -> Result<u32, ApiError> {
    let most = limits.max_top_n_tokens;
    at_most(LimitName::TopTokens, name, value.unwrap_or(0), most)
}

/// A number within a limit.
pub(super) fn at_most(
    limit: LimitName,
    name: &'static str,
    value: u32,
    most: u32,
) -> Result<u32, ApiError> {
    if value > most {
        let message = format!("{name} must be at most {most}, got {value}");
        return Err(ApiError::beyond(limit, name, message));
    }
    Ok(value)
}

pub(super) fn at_least_one(
    name: &'static str,
    value: Option<u32>,
) -> Result<Option<u32>, ApiError> {
    if value == Some(0) {
        return Err(invalid(name, format!("{name} must be at least 1, got 0")));
    }
    Ok(value)
}

pub(super) fn above_zero(name: &'static str, value: Option<f32>) -> Result<Option<f32>, ApiError> {
    match value {
        Some(value) if !(value > 0.0 && value.is_finite()) => Err(invalid(
            name,
            format!("{name} must be above 0, got {value}"),
        )),
        value => Ok(value),
    }
}

/// A probability mass; 1 keeps everything.
pub(super) fn share(name: &'static str, value: Option<f32>) -> Result<Option<f32>, ApiError> {
    match value {
        Some(value) if !(value > 0.0 && value <= 1.0) => Err(invalid(
            name,
            format!("{name} must be above 0 and at most 1, got {value}"),
        )),
        value => Ok(value),
    }
}

/// A grammar says where the answer ends.
pub(super) fn one_end(ignore_eos: bool, grammar: Option<&Grammar>) -> Result<(), ApiError> {
    if ignore_eos && grammar.is_some() {
        let reason =
            "ignore_eos cannot be combined with a grammar, which says where the answer ends";
        return Err(invalid("ignore_eos", reason));
    }
    Ok(())
}

/// A number that is 0 by default.
pub(super) fn within(
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

pub(super) fn refuse(name: &'static str, asked_for: bool) -> Result<(), ApiError> {
    if asked_for {
        let message = format!("{name} is not supported by this version; leave it out");
        return Err(invalid(name, message));
    }
    Ok(())
}

/// A broken rule about the parameter `name`.
pub fn invalid(name: &'static str, message: impl Into<String>) -> ApiError {
    ApiError::invalid(name, message)
}
