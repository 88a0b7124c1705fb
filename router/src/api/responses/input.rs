//! Items to messages: what a request sends, after what a stored response said.

use crate::api::conversation::{Conversation, Message, Tool, ToolCall, ToolChoice};
use crate::api::types::response_object::OutputItem;
use crate::api::types::responses::{
    FunctionTool, InputContent, InputItem, InputPart, ResponseInput, ResponsesRequest,
};
use crate::api::validate::invalid;
use crate::error::ApiError;

/// What a request adds to the conversation.
///
/// # Errors
/// When it adds nothing.
pub fn new_items(input: Option<ResponseInput>) -> Result<Vec<InputItem>, ApiError> {
    let items = match input {
        None => vec![],
        Some(ResponseInput::Text(text)) => vec![message_item("user", text)],
        Some(ResponseInput::Items(items)) => items,
    };
    if items.is_empty() {
        return Err(invalid(
            "input",
            "input is empty, it needs a text or an item",
        ));
    }
    Ok(items)
}

/// A response's output as items of a later request.
pub fn output_items(output: &[OutputItem]) -> impl Iterator<Item = InputItem> {
    output.iter().map(|item| match item {
        OutputItem::Message { role, content, .. } => {
            let text = content.iter().map(|part| part.text.as_str()).collect();
            message_item(role, text)
        }
        OutputItem::FunctionCall {
            call_id,
            name,
            arguments,
            ..
        } => InputItem {
            r#type: Some("function_call".into()),
            call_id: Some(call_id.clone()),
            name: Some(name.clone()),
            arguments: Some(arguments.clone()),
            ..InputItem::default()
        },
    })
}

fn message_item(role: &str, text: String) -> InputItem {
    InputItem {
        role: Some(role.to_owned()),
        content: Some(InputContent::Text(text)),
        ..InputItem::default()
    }
}

/// The conversation of a request, which consists of these items.
///
/// # Errors
/// When an item, a tool or the choice among the tools is none, or is not supported.
pub fn conversation(
    request: &ResponsesRequest,
    items: Vec<InputItem>,
) -> Result<Conversation, ApiError> {
    let mut messages = Vec::with_capacity(items.len() + 1);
    if let Some(instructions) = &request.instructions {
        messages.push(text_message("system", instructions.clone()));
    }
    for item in items {
        add(&mut messages, item)?;
    }
    let tools = request.tools.iter().flatten().map(tool);
    Ok(Conversation {
        messages,
        tools: tools.collect::<Result<_, _>>()?,
        choice: ToolChoice::of_openai(request.tool_choice.as_ref())?,
        parallel: request.parallel_tool_calls.unwrap_or(true),
        ..Conversation::default()
    })
}

fn text_message(role: &str, text: String) -> Message {
    Message {
        role: role.to_owned(),
        content: Some(text),
        ..Message::default()
    }
}

fn add(messages: &mut Vec<Message>, item: InputItem) -> Result<(), ApiError> {
    match item.r#type.as_deref().unwrap_or("message") {
        "message" => {
            let role = needed(item.role, "message", "role")?;
            if !["user", "assistant", "system", "developer"].contains(&role.as_str()) {
                let message =
                    format!("role must be user, assistant, system or developer, got {role:?}");
                return Err(invalid("input", message));
            }
            let text = text(needed(item.content, "message", "content")?)?;
            messages.push(text_message(&role, text));
        }
        "function_call" => add_call(messages, call(item)?),
        "function_call_output" => messages.push(Message {
            tool_call_id: Some(needed(item.call_id, "function_call_output", "call_id")?),
            ..text_message(
                "tool",
                text(needed(item.output, "function_call_output", "output")?)?,
            )
        }),
        kind => {
            let message = format!(
                "input items must be message, function_call or function_call_output, got {kind:?}"
            );
            return Err(invalid("input", message));
        }
    }
    Ok(())
}

fn call(item: InputItem) -> Result<ToolCall, ApiError> {
    Ok(ToolCall {
        id: needed(item.call_id, "function_call", "call_id")?,
        name: needed(item.name, "function_call", "name")?,
        arguments: needed(item.arguments, "function_call", "arguments")?,
    })
}

/// A call belongs to the assistant's message that it follows: that is one answer.
fn add_call(messages: &mut Vec<Message>, call: ToolCall) {
    match messages.last_mut() {
        Some(last) if last.role == "assistant" => last.calls.push(call),
        _ => messages.push(Message {
            role: "assistant".to_owned(),
            calls: vec![call],
            ..Message::default()
        }),
    }
}

fn needed<T>(value: Option<T>, kind: &str, field: &str) -> Result<T, ApiError> {
    value.ok_or_else(|| {
        invalid(
            "input",
            format!("an input item of type {kind} needs {field}"),
        )
    })
}

fn text(content: InputContent) -> Result<String, ApiError> {
    match content {
        InputContent::Text(text) => Ok(text),
        InputContent::Parts(parts) => parts.into_iter().map(part_text).collect(),
    }
}

fn part_text(part: InputPart) -> Result<String, ApiError> {
    match (part.r#type.as_str(), part.text) {
        ("input_text" | "output_text" | "text", Some(text)) => Ok(text),
        (kind, _) => {
            let message = format!(
                "content parts must have type input_text or output_text and a text, got {kind:?}"
            );
            Err(invalid("input", message))
        }
    }
}

fn tool(tool: &FunctionTool) -> Result<Tool, ApiError> {
    if tool.r#type != "function" {
        let message = format!("tools must be of type function, got {:?}", tool.r#type);
        return Err(invalid("tools", message));
    }
    let name = tool.name.clone().filter(|name| !name.is_empty());
    Ok(Tool {
        name: name.ok_or_else(|| invalid("tools", "a tool needs a name"))?,
        description: tool.description.clone(),
        parameters: tool.parameters.clone(),
    })
}

#[cfg(test)]
mod tests;
