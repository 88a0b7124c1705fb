//! What an answer must follow: from the client's form to a [`Grammar`].

use serde_json::{Map, Value};

use super::check::invalid;
use crate::api::types::grammar::{FormatKind, GrammarKind, GrammarRequest, ResponseFormat};
use crate::api::types::messages::OutputFormat;
use crate::api::types::responses::TextFormat;
use crate::error::ApiError;
use crate::grammar::Grammar;

const GRAMMAR: &str = "grammar";
const RESPONSE_FORMAT: &str = "response_format";
const TEXT_FORMAT: &str = "text.format";
const OUTPUT_FORMAT: &str = "output_config.format";

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

/// The grammar of a response; none for text.
///
/// # Errors
/// When the format has another type, or its schema is absent.
pub(super) fn text_format(format: Option<&TextFormat>) -> Result<Option<Grammar>, ApiError> {
    match format.map(|format| (format.r#type.as_str(), format)) {
        None | Some(("text", _)) => Ok(None),
        Some(("json_object", _)) => Ok(Some(Grammar::json_object(TEXT_FORMAT))),
        Some(("json_schema", format)) => schema(TEXT_FORMAT, format.schema.as_ref()),
        Some((kind, _)) => {
            let expected = "must be text, json_object or json_schema";
            let message = format!("the type of {TEXT_FORMAT} {expected}, got {kind:?}");
            Err(invalid(TEXT_FORMAT, message))
        }
    }
}

/// The grammar of a message; none for text.
///
/// # Errors
/// When the format has another type, or its schema is absent.
pub(super) fn output_format(format: Option<&OutputFormat>) -> Result<Option<Grammar>, ApiError> {
    match format.map(|format| (format.r#type.as_str(), format)) {
        None => Ok(None),
        Some(("json_schema", format)) => schema(OUTPUT_FORMAT, format.schema.as_ref()),
        Some((kind, _)) => {
            let message = format!("the type of {OUTPUT_FORMAT} must be json_schema, got {kind:?}");
            Err(invalid(OUTPUT_FORMAT, message))
        }
    }
}

fn schema(
    field: &'static str,
    schema: Option<&Map<String, Value>>,
) -> Result<Option<Grammar>, ApiError> {
    let schema = schema.ok_or_else(|| {
        let message =
            format!("{field} of type json_schema needs the schema under the key \"schema\"");
        invalid(field, message)
    })?;
    Grammar::json_schema(field, &Value::Object(schema.clone())).map(Some)
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
        GrammarKind::Lark => Grammar::lark(field, text(field, "lark", value)?),
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
