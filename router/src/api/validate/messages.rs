//! `/v1/messages`: Anthropic's ranges. What this version cannot do is refused, never ignored.

use super::check::{at_least_one, invalid, refuse, share, stop_strings};
use super::{Names, Plan, grammar};
use crate::api::types::messages::MessagesRequest;
use crate::config::Limits;
use crate::error::ApiError;
use crate::request::Sampling;

/// Checks a request; messages and tools are checked where they become a conversation.
///
/// # Errors
/// The first rule that is broken, with its value and the limit.
pub fn message(request: &MessagesRequest, limits: &Limits) -> Result<Plan, ApiError> {
    let thinking = request.thinking.as_ref();
    refuse(
        "thinking",
        thinking.is_some_and(|thinking| thinking.r#type != "disabled"),
    )?;
    let servers = request.mcp_servers.as_deref().unwrap_or_default();
    refuse("mcp_servers", !servers.is_empty())?;
    refuse("container", request.container.is_some())?;
    refuse("context_management", request.context_management.is_some())?;
    let config = request.output_config.as_ref();
    refuse(
        "output_config.effort",
        config.is_some_and(|config| config.effort.is_some()),
    )?;
    let temperature = request.temperature.unwrap_or(1.0);
    if !(0.0..=1.0).contains(&temperature) {
        let message = format!("temperature must be from 0 to 1, got {temperature}");
        return Err(invalid("temperature", message));
    }
    let stop = request.stop_sequences.clone().unwrap_or_default();
    let format = config.and_then(|config| config.format.as_ref());
    let plan = Plan::default();
    Ok(Plan {
        sampling: Sampling {
            temperature,
            top_k: request.top_k.unwrap_or(0),
            top_p: share("top_p", request.top_p)?.unwrap_or(1.0),
            ..plan.sampling
        },
        max_new_tokens: at_least_one("max_tokens", Some(request.max_tokens))?,
        stop: stop_strings("stop_sequences", stop, limits)?,
        grammar: grammar::output_format(format)?,
        names: Names {
            prompt: "messages",
            length: "max_tokens",
        },
        ..plan
    })
}
