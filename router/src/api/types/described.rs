//! Schemas of fields whose Rust type says less than what is valid.

use serde_json::json;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Type};
use utoipa::openapi::{RefOr, Schema};

/// What this version does not support: null.
pub(super) fn nothing() -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::Null).into()
}

/// Whether functions may or have to be called, or which one: `{"type": "function", "name": ..}`.
pub(super) fn tool_choice() -> RefOr<Schema> {
    one_of_choices(named_function())
}

/// As [`tool_choice`], with the name under `function`.
pub(super) fn chat_tool_choice() -> RefOr<Schema> {
    let inner = ObjectBuilder::new()
        .property("name", text())
        .required("name");
    let named = ObjectBuilder::new()
        .property("type", word(&["function"]))
        .property("function", inner)
        .required("function");
    one_of_choices(named)
}

fn named_function() -> ObjectBuilder {
    ObjectBuilder::new()
        .property("type", word(&["function"]))
        .property("name", text())
        .required("type")
        .required("name")
}

fn one_of_choices(named: ObjectBuilder) -> RefOr<Schema> {
    OneOfBuilder::new()
        .item(ObjectBuilder::new().schema_type(Type::Null))
        .item(word(&["auto", "none", "required"]))
        .item(named)
        .into()
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn word(words: &[&str]) -> ObjectBuilder {
    text().enum_values(Some(words.iter().map(|word| json!(word))))
}
