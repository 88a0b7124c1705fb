//! What an answer must follow, as clients write it.

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

/// Kinds of grammars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GrammarKind {
    /// A JSON schema; without one, any JSON object.
    Json,
    /// As `json`.
    JsonObject,
    /// A JSON schema with a name.
    JsonSchema,
    /// A regular expression that the whole answer matches.
    Regex,
    /// A grammar in llguidance's variant of Lark, an EBNF.
    Lark,
}

/// What the answer to a native request must follow.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[schema(example = json!({"type": "json", "value": {"properties": {"name": {"type": "string"}}}}))]
pub struct GrammarRequest {
    /// What `value` is.
    pub r#type: GrammarKind,
    /// The schema, as an object or as a string of JSON (for `json_schema` under the key `schema`);
    /// the expression; the grammar.
    pub value: Option<Value>,
}

/// Kinds of response formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FormatKind {
    /// Anything goes.
    Text,
    /// A JSON object; of a schema, if `value` has one.
    JsonObject,
    /// JSON of a schema: in `json_schema`, or in `value` under the key `schema`.
    JsonSchema,
    /// JSON of the schema in `value`.
    Json,
    /// Text that matches the regular expression in `value`.
    Regex,
    /// Text of the Lark grammar in `value`.
    Lark,
}

/// What the answer to a chat request must follow: OpenAI's form, or TGI's with `value`.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct ResponseFormat {
    /// What the answer is.
    pub r#type: FormatKind,
    /// For `json_schema`.
    pub json_schema: Option<NamedSchema>,
    /// As in a native request's `grammar`.
    pub value: Option<Value>,
}

/// A schema as OpenAI's clients send it.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct NamedSchema {
    /// For the client's own use.
    pub name: Option<String>,
    /// The schema; null means any JSON object.
    pub schema: Option<Value>,
    /// Answers follow the schema either way.
    pub strict: Option<bool>,
}
