//! Messages and tools of a chat request.

use serde_json::{Map, Value};

use crate::api::conversation::{Conversation, Ending, Message, Tool, ToolCall, ToolChoice};
use crate::api::types::chat::{
    ChatMessage, ChatRequest, ChatTool, Content, ContentPart, ToolCallParam,
};
use crate::api::validate::invalid;
use crate::error::ApiError;

/// Takes the conversation out of a request.
///
/// # Errors
/// When a message, a tool or the choice among the tools is none, or is not supported.
pub fn conversation(request: &mut ChatRequest) -> Result<Conversation, ApiError> {
    let messages = std::mem::take(&mut request.messages).into_iter();
    let tools = request.tools.take().into_iter().flatten();
    Ok(Conversation {
        messages: messages.map(message).collect::<Result<_, _>>()?,
        tools: tools.map(tool).collect::<Result<_, _>>()?,
        choice: ToolChoice::of_openai(request.tool_choice.as_ref())?,
        parallel: request.parallel_tool_calls.unwrap_or(true),
        ending: ending(request)?,
        variables: variables(request)?,
    })
}

/// How the prompt ends, from the two fields of Hugging Face's templates.
fn ending(request: &ChatRequest) -> Result<Ending, ApiError> {
    let (go_on, begin) = (
        request.continue_final_message,
        request.add_generation_prompt,
    );
    Ok(match (go_on, begin) {
        (Some(true), Some(true)) => {
            let message = "continue_final_message and add_generation_prompt exclude one another";
            return Err(invalid("continue_final_message", message));
        }
        (Some(true), _) => Ending::Continue,
        (None, None) => Ending::Auto,
        (_, Some(false)) => Ending::Closed,
        (_, Some(true) | None) => Ending::Begin,
    })
}

/// What templates are given by fields of their own.
const OWN_VARIABLES: [&str; 6] = [
    "messages",
    "tools",
    "bos_token",
    "eos_token",
    "add_generation_prompt",
    "continue_final_message",
];

fn variables(request: &mut ChatRequest) -> Result<Map<String, Value>, ApiError> {
    let variables = request.chat_template_kwargs.take().unwrap_or_default();
    if let Some(own) = OWN_VARIABLES
        .iter()
        .find(|&&name| variables.contains_key(name))
    {
        let message = format!("chat_template_kwargs must not hold {own}, which has its own place");
        return Err(invalid("chat_template_kwargs", message));
    }
    Ok(variables)
}

fn message(sent: ChatMessage) -> Result<Message, ApiError> {
    if sent.function_call.is_some() {
        let message = "messages must not hold function_call; send tool_calls in its place";
        return Err(invalid("messages", message));
    }
    let calls = sent.tool_calls.into_iter().flatten().map(call);
    Ok(Message {
        content: sent.content.map(text).transpose()?,
        calls: calls.collect(),
        role: sent.role,
        name: sent.name,
        tool_call_id: sent.tool_call_id,
    })
}

fn text(content: Content) -> Result<String, ApiError> {
    let part = |part: ContentPart| match (part.r#type.as_str(), part.text) {
        ("text", Some(text)) => Ok(text),
        (kind, _) => {
            let message = format!("content parts must have type \"text\" and a text, got {kind:?}");
            Err(invalid("messages", message))
        }
    };
    match content {
        Content::Text(text) => Ok(text),
        Content::Parts(parts) => parts.into_iter().map(part).collect(),
    }
}

fn call(sent: ToolCallParam) -> ToolCall {
    ToolCall {
        id: sent.id.unwrap_or_default(),
        name: sent.function.name,
        arguments: match sent.function.arguments {
            Some(Value::String(json)) => json,
            None | Some(Value::Null) => "{}".to_owned(),
            Some(arguments) => arguments.to_string(),
        },
    }
}

fn tool(sent: ChatTool) -> Result<Tool, ApiError> {
    let function = sent.function.filter(|_| sent.r#type == "function");
    let function = function.filter(|function| !function.name.is_empty());
    let function = function.ok_or_else(|| {
        let message = format!(
            "tools must have type \"function\" and a function with a name, got type {:?}",
            sent.r#type
        );
        invalid("tools", message)
    })?;
    Ok(Tool {
        name: function.name,
        description: function.description,
        parameters: function.parameters,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: Value) -> Result<Conversation, ApiError> {
        conversation(&mut serde_json::from_value(body).expect("a request"))
    }

    #[test]
    fn calls_and_results_are_read() {
        let function = |arguments: Value| json!({"name": "f", "arguments": arguments});
        let messages = json!([
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "a", "type": "function", "function": function(json!("{\"x\": 1}"))},
                {"id": "b", "type": "function", "function": function(json!({"x": 1}))}]},
            {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "42"}]},
        ]);
        let read = read(json!({"messages": messages})).expect("valid");
        let call = |id: &str, arguments: &str| ToolCall {
            id: id.into(),
            name: "f".into(),
            arguments: arguments.into(),
        };
        let expected = [
            Message {
                role: "assistant".into(),
                calls: vec![call("a", "{\"x\": 1}"), call("b", "{\"x\":1}")],
                ..Message::default()
            },
            Message {
                role: "tool".into(),
                content: Some("42".into()),
                tool_call_id: Some("a".into()),
                ..Message::default()
            },
        ];
        assert_eq!(read.messages, expected);
    }

    #[test]
    fn the_choice_among_tools_is_read() {
        for (sent, expected) in [
            (json!(null), ToolChoice::Auto),
            (json!("auto"), ToolChoice::Auto),
            (json!("none"), ToolChoice::None),
            (json!("required"), ToolChoice::Required),
            (
                json!({"type": "function", "function": {"name": "f"}}),
                ToolChoice::Named("f".into()),
            ),
        ] {
            let body = json!({"messages": [], "tool_choice": sent});
            assert_eq!(read(body).expect("valid").choice, expected);
        }
    }

    #[test]
    fn what_is_no_tool_is_refused() {
        for (field, value) in [
            ("tools", json!([{"type": "retrieval"}])),
            ("tools", json!([{"type": "function"}])),
            (
                "tools",
                json!([{"type": "function", "function": {"name": ""}}]),
            ),
            ("tool_choice", json!("sometimes")),
            ("tool_choice", json!({"type": "function"})),
        ] {
            let error = read(json!({"messages": [], field: value})).expect_err("it is refused");
            assert!(
                matches!(&error, ApiError::Invalid { param: Some(param), .. } if param == field),
                "{error:?}"
            );
        }
    }
}
