//! What an answer must follow: JSON, a JSON schema, a regular expression or a Lark grammar.
//!
//! A [`Grammar`] holds the text that llguidance makes a parser of, here to check it and in the shard
//! to follow it, so that both sides read the same. [`Grammars`] checks it with the model's
//! vocabulary, before an answer begins.

mod check;
mod multiples;
mod parsers;
mod width;

use std::sync::Arc;

use llguidance::api::TopLevelGrammar;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::limits::LimitName;

pub use check::Grammars;

/// White space between the parts of JSON: a blank, or a line's end and the next line's indentation.
/// Bounded, as small models go on with it for ever.
const JSON_SPACE: &str = r" |\n {0,32}|\n\t{0,8}";

/// What an answer must follow. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grammar {
    field: &'static str,
    bytes: usize,
    source: Arc<str>,
}

impl Grammar {
    /// JSON of a schema, which is an object, a boolean, or a string of JSON that holds one of these.
    /// `field` is the request's field that it came from.
    ///
    /// # Errors
    /// When it is something else, or has a `multipleOf` that is too large to follow. Whether it is
    /// a schema shows [`Grammars::check`].
    pub fn json_schema(field: &'static str, schema: &Value) -> Result<Self, ApiError> {
        let mut schema = match schema {
            Value::String(text) => serde_json::from_str(text).map_err(|error| {
                ApiError::invalid(field, format!("the schema in {field} is no JSON: {error}"))
            })?,
            schema => schema.clone(),
        };
        let bytes = schema.to_string().len();
        if schema == Value::Bool(true) {
            schema = json!({});
        }
        let Value::Object(keys) = &mut schema else {
            let message = format!("the schema in {field} must be an object, got {schema}");
            return Err(ApiError::invalid(field, message));
        };
        if !multiples::are_bounded(&Value::Object(keys.clone())) {
            let most = multiples::MOST;
            let message = format!(
                "the least common multiple of all multipleOf in {field} must be at most {most}"
            );
            return Err(ApiError::beyond(
                LimitName::GrammarMultiples,
                field,
                message,
            ));
        }
        // How, beside the schema, llguidance writes JSON. `oneOf` is followed as `anyOf`.
        let options = json!({"whitespace_pattern": JSON_SPACE, "coerce_one_of": true});
        keys.insert("x-guidance".to_owned(), options);
        Ok(Self::new(
            field,
            bytes,
            &TopLevelGrammar::from_json_schema(schema),
        ))
    }

    /// Any JSON object.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn json_object(field: &'static str) -> Self {
        Self::json_schema(field, &json!({"type": "object"})).expect("an object")
    }

    /// Text that as a whole matches a regular expression in the syntax of Rust's `regex`. Anchors
    /// at its ends are allowed, and without effect.
    #[must_use]
    pub fn regex(field: &'static str, expression: &str) -> Self {
        let bytes = expression.len();
        let inner = expression.strip_prefix('^').unwrap_or(expression);
        let escapes = |text: &str| text.chars().rev().take_while(|&c| c == '\\').count();
        let inner = match inner.strip_suffix('$') {
            Some(start) if escapes(start).is_multiple_of(2) => start,
            _ => inner,
        };
        Self::new(field, bytes, &TopLevelGrammar::from_regex(inner))
    }

    /// Text of a grammar in llguidance's variant of Lark, without its schemas (`%json`).
    ///
    /// # Errors
    /// When it has one: schemas are checked where they are sent as such.
    pub fn lark(field: &'static str, grammar: &str) -> Result<Self, ApiError> {
        if grammar.contains("%json") {
            let message =
                format!("{field} must not have %json in a grammar; send a schema instead");
            return Err(ApiError::invalid(field, message));
        }
        let top = TopLevelGrammar::from_lark(grammar.to_owned());
        Ok(Self::new(field, grammar.len(), &top))
    }

    fn new(field: &'static str, bytes: usize, grammar: &TopLevelGrammar) -> Self {
        let source = serde_json::to_string(grammar).expect("strings and JSON values");
        Self {
            field,
            bytes,
            source: source.into(),
        }
    }

    /// The JSON of llguidance's `TopLevelGrammar`.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }
}

#[cfg(test)]
mod tests;
