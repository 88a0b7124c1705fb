//! What an answer must follow: from the client's form to a [`Grammar`].

use serde_json::Value;

use super::check::invalid;
use crate::api::types::grammar::{FormatKind, GrammarKind, GrammarRequest, ResponseFormat};
use crate::error::ApiError;
use crate::grammar::Grammar;

const GRAMMAR: &str = "grammar";
const RESPONSE_FORMAT: &str = "response_format";

/// The grammar of a native request.
///
/// # Errors
/// When its value is absent or of the wrong type.
pub(super) fn native(request: Option<&GrammarRequest>) -> Result<Option<Grammar>, ApiError> {
    let grammar =
        |request: &GrammarRequest| valued(GRAMMAR, request.r#type, request.value.as_ref());
    request.map(grammar).transpose()
}

/// The grammar of a chat request; none for text.
///
/// # Errors
/// When its value is absent or of the wrong type.
pub(super) fn response_format(
    format: Option<&ResponseFormat>,
) -> Result<Option<Grammar>, ApiError> {
    let Some(format) = format else {
        return Ok(None);
    };
    let kind = match (format.r#type, &format.json_schema) {
        (FormatKind::Text, _) => return Ok(None),
        (FormatKind::JsonSchema, Some(named)) => {
            return json(RESPONSE_FORMAT, named.schema.as_ref()).map(Some);
        }
        (FormatKind::JsonSchema, None) => GrammarKind::JsonSchema,
        (FormatKind::JsonObject, _) => GrammarKind::JsonObject,
        (FormatKind::Json, _) => GrammarKind::Json,
        (FormatKind::Regex, _) => GrammarKind::Regex,
        (FormatKind::Lark, _) => GrammarKind::Lark,
    };
    valued(RESPONSE_FORMAT, kind, format.value.as_ref()).map(Some)
}

fn valued(
    field: &'static str,
    kind: GrammarKind,
    value: Option<&Value>,
) -> Result<Grammar, ApiError> {
    match kind {
        GrammarKind::Json | GrammarKind::JsonObject => json(field, value),
        GrammarKind::JsonSchema => {
            let named = value.and_then(Value::as_object).ok_or_else(|| {
                let expected = "needs an object with the schema under the key \"schema\"";
                invalid(field, format!("{field} of type json_schema {expected}"))
            })?;
            json(field, named.get("schema"))
        }
        GrammarKind::Regex => Ok(Grammar::regex(field, text(field, "regex", value)?)),
        GrammarKind::Lark => Ok(Grammar::lark(field, text(field, "lark", value)?)),
    }
}

fn json(field: &'static str, schema: Option<&Value>) -> Result<Grammar, ApiError> {
    match schema {
        None | Some(Value::Null) => Ok(Grammar::json_object(field)),
        Some(schema) => Grammar::json_schema(field, schema),
    }
}

fn text<'a>(
    field: &'static str,
    kind: &str,
    value: Option<&'a Value>,
) -> Result<&'a str, ApiError> {
    value.and_then(Value::as_str).ok_or_else(|| {
        let message = format!("{field} of type {kind} needs a string as its value");
        invalid(field, message)
    })
}
