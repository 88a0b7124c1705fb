//! The choice among tools as OpenAI's clients say it.

use serde_json::Value;

use super::ToolChoice;
use crate::api::validate::invalid;
use crate::error::ApiError;

impl ToolChoice {
    /// Reads the field `tool_choice`. A function is named as in chat requests or as in responses.
    ///
    /// # Errors
    /// When it is no choice.
    pub fn of_openai(choice: Option<&Value>) -> Result<Self, ApiError> {
        Ok(match choice.map(|choice| (choice, choice.as_str())) {
            None | Some((Value::Null, _) | (_, Some("auto"))) => Self::Auto,
            Some((_, Some("none"))) => Self::None,
            Some((_, Some("required"))) => Self::Required,
            Some((choice, _)) => named(choice).ok_or_else(|| {
                let message = format!(
                    "tool_choice must be \"auto\", \"none\", \"required\", \
                     {{\"type\": \"function\", \"function\": {{\"name\": ..}}}} in a chat or \
                     {{\"type\": \"function\", \"name\": ..}} in a response, got {choice}"
                );
                invalid("tool_choice", message)
            })?,
        })
    }
}

fn named(choice: &Value) -> Option<ToolChoice> {
    let kind = choice
        .get("type")
        .map_or("function", |kind| kind.as_str().unwrap_or_default());
    let name = choice
        .pointer("/function/name")
        .or_else(|| choice.get("name"))?;
    let name = name.as_str().filter(|_| kind == "function")?;
    Some(ToolChoice::Named(name.to_owned()))
}
