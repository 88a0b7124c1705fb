//! How models write calls: one table.

use serde_json::{Map, Value, json};

use super::Tool;

/// The way in which a family of models writes calls into its text.
#[derive(Debug, PartialEq, Eq)]
pub struct ToolFormat {
    /// Its name.
    pub name: &'static str,
    /// A chat template that holds one of these texts asks for this format...
    marks: &'static [&'static str],
    /// ...unless it holds one of these.
    unless: &'static [&'static str],
    /// Text that begins a call. Holds no white space.
    pub(super) open: &'static str,
    /// Text that ends it; "" when the JSON's end does.
    pub(super) close: &'static str,
    /// What follows `open`.
    pub(super) body: Body,
    /// Whether an answer may also begin with the body itself, and whether calls may follow one
    /// another without `open`.
    pub(super) bare: bool,
    /// Name of the member that holds the arguments.
    pub(super) arguments: &'static str,
    /// Length that the template demands of ids.
    pub(super) id_chars: Option<usize>,
}

/// JSON of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// One object, a call.
    Object,
    /// A list of such objects.
    List,
}

/// `<tool_call>{"name": .., "arguments": {..}}</tool_call>`: Hermes, Qwen 2.5 and 3, and the form
/// that is asked for where a template knows no tools.
pub(super) static HERMES: ToolFormat = ToolFormat {
    name: "hermes",
    marks: &["<tool_call>"],
    unless: &["<function=", "<arg_key>"],
    open: "<tool_call>",
    close: "</tool_call>",
    body: Body::Object,
    bare: false,
    arguments: "arguments",
    id_chars: None,
};

/// `[TOOL_CALLS] [{"name": .., "arguments": {..}}, ..]`: Mistral up to version 7 of its tokenizer.
static MISTRAL: ToolFormat = ToolFormat {
    name: "mistral",
    marks: &["[TOOL_CALLS]"],
    unless: &["[ARGS]"],
    open: "[TOOL_CALLS]",
    close: "",
    body: Body::List,
    bare: false,
    arguments: "arguments",
    id_chars: Some(9),
};

/// `{"name": .., "parameters": {..}}`, with or without `<|python_tag|>` before it: Llama 3.
static LLAMA3: ToolFormat = ToolFormat {
    name: "llama3",
    marks: &["<|python_tag|>", "\"parameters\": dictionary"],
    unless: &[],
    open: "<|python_tag|>",
    close: "",
    body: Body::Object,
    bare: true,
    arguments: "parameters",
    id_chars: None,
};

static TABLE: [&ToolFormat; 3] = [&HERMES, &MISTRAL, &LLAMA3];

impl ToolFormat {
    /// The format that a chat template's source asks for; `None` when it is not in the table.
    #[must_use]
    pub fn of_template(source: &str) -> Option<&'static Self> {
        let holds = |texts: &[&str]| texts.iter().any(|text| source.contains(text));
        TABLE
            .into_iter()
            .find(|format| holds(format.marks) && !holds(format.unless))
    }

    /// Schema of a list of calls of these tools, at most `most` of them. The tools' own schemas are
    /// its definitions, numbered.
    #[must_use]
    pub fn forced_schema<'a>(&self, tools: impl Iterator<Item = &'a Tool>, most: usize) -> Value {
        let (mut definitions, mut calls) = (Map::new(), Vec::new());
        for (number, tool) in tools.enumerate() {
            let place = format!("#/$defs/{number}");
            let mut schema = tool.schema();
            move_references(&mut schema, &place);
            definitions.insert(number.to_string(), schema);
            calls.push(self.call_schema(tool, &place));
        }
        json!({
            "type": "array", "minItems": 1, "maxItems": most, "items": {"anyOf": calls},
            "$defs": definitions,
        })
    }

    fn call_schema(&self, tool: &Tool, arguments: &str) -> Value {
        json!({
            "type": "object",
            "properties": {"name": {"const": tool.name}, self.arguments: {"$ref": arguments}},
            "required": ["name", self.arguments],
            "additionalProperties": false,
        })
    }
}

/// Lets a schema's references to itself find their targets when it is moved to `place`.
fn move_references(schema: &mut Value, place: &str) {
    match schema {
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| move_references(item, place)),
        Value::Object(members) => {
            for (key, value) in members {
                match value {
                    Value::String(target) if key == "$ref" && target.starts_with('#') => {
                        target.replace_range(..1, place);
                    }
                    value => move_references(value, place),
                }
            }
        }
        _ => {}
    }
}

impl Tool {
    /// Schema of its arguments.
    #[must_use]
    pub fn schema(&self) -> Value {
        match &self.parameters {
            Some(schema) => Value::Object(schema.clone()),
            None => json!({"type": "object", "properties": {}, "additionalProperties": false}),
        }
    }

    /// As OpenAI writes it, which is what chat templates read.
    #[must_use]
    pub fn definition(&self) -> Value {
        let mut function = Map::new();
        function.insert("name".into(), Value::from(self.name.as_str()));
        if let Some(description) = &self.description {
            function.insert("description".into(), Value::from(description.as_str()));
        }
        function.insert("parameters".into(), self.schema());
        json!({"type": "function", "function": function})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(source: &str) -> Option<&'static str> {
        ToolFormat::of_template(source).map(|format| format.name)
    }

    #[test]
    fn a_template_tells_its_format() {
        assert_eq!(name("Return <tool_call>\n{\"name\": ..."), Some("hermes"));
        assert_eq!(name("{{ '[TOOL_CALLS] [' }}"), Some("mistral"));
        assert_eq!(name("{{ '<|python_tag|>' }}"), Some("llama3"));
        let asks = r#"{"name": function name, "parameters": dictionary of argument name}"#;
        assert_eq!(name(asks), Some("llama3"));
    }

    #[test]
    fn formats_that_are_not_in_the_table_are_not_taken_for_others() {
        assert_eq!(name("<tool_call>\n<function=name>"), None);
        assert_eq!(name("[TOOL_CALLS]name[ARGS]{}"), None);
        assert_eq!(name("{{ tools | tojson }}"), None);
    }

    #[test]
    fn a_forced_call_keeps_to_its_tools_schema() {
        let parameters = json!({
            "type": "object", "properties": {"x": {"$ref": "#/$defs/X"}, "me": {"$ref": "#"}},
            "$defs": {"X": {"type": "integer"}},
        });
        let tool = |name: &str, parameters: Option<Value>| Tool {
            name: name.into(),
            description: None,
            parameters: parameters.and_then(|schema| schema.as_object().cloned()),
        };
        let tools = [tool("f", None), tool("g", Some(parameters))];
        let schema = HERMES.forced_schema(tools.iter(), 3);
        assert_eq!(schema["maxItems"], 3);
        let call = &schema["items"]["anyOf"][1]["properties"];
        assert_eq!(call["name"]["const"], "g");
        assert_eq!(call["arguments"]["$ref"], "#/$defs/1");
        let moved = &schema["$defs"]["1"]["properties"];
        assert_eq!(moved["x"]["$ref"], "#/$defs/1/$defs/X");
        assert_eq!(moved["me"]["$ref"], "#/$defs/1");
    }
}
