//! Content blocks to messages.

use serde_json::Value;

use crate::api::conversation::{Conversation, Message, Tool, ToolCall, ToolChoice};
use crate::api::types::messages::{
    ContentBlock, CountTokensRequest, MessageContent, MessageParam, TextBlockParam, TextOrBlocks,
    ToolChoiceParam, ToolParam,
};
use crate::api::validate::invalid;
use crate::error::ApiError;

/// The conversation of a request.
///
/// # Errors
/// When a block, a tool or the choice among the tools is none, or is not supported.
pub fn conversation(request: CountTokensRequest) -> Result<Conversation, ApiError> {
    let mut messages = Vec::with_capacity(request.messages.len() + 1);
    if let Some(system) = request.system {
        messages.push(text_message("system", text("system", system)?));
    }
    for message in request.messages {
        add(&mut messages, message)?;
    }
    let tools = request.tools.into_iter().flatten().map(tool);
    let choice = request.tool_choice;
    let disabled = choice
        .as_ref()
        .and_then(|choice| choice.disable_parallel_tool_use);
    Ok(Conversation {
        messages,
        tools: tools.collect::<Result<_, _>>()?,
        choice: choice.map_or(Ok(ToolChoice::Auto), tool_choice)?,
        parallel: !disabled.unwrap_or(false),
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

fn add(messages: &mut Vec<Message>, message: MessageParam) -> Result<(), ApiError> {
    let role = message.role.as_str();
    if !["user", "assistant"].contains(&role) {
        let message = format!(
            "role must be user or assistant, got {role:?}; a system text goes into the field system"
        );
        return Err(invalid("messages", message));
    }
    match message.content {
        MessageContent::Text(text) => messages.push(text_message(role, text)),
        MessageContent::Blocks(blocks) if role == "assistant" => messages.push(answer(blocks)?),
        MessageContent::Blocks(blocks) => {
            let before = messages.len();
            for block in blocks {
                add_block(messages, before, block)?;
            }
        }
    }
    Ok(())
}

/// A block of the user: a result is a message of its own, texts that follow one another are one.
fn add_block(
    messages: &mut Vec<Message>,
    before: usize,
    block: ContentBlock,
) -> Result<(), ApiError> {
    if block.r#type == "tool_result" {
        let content = block.content.map(|content| text("messages", content));
        messages.push(Message {
            tool_call_id: Some(needed(block.tool_use_id, "tool_result", "tool_use_id")?),
            ..text_message("tool", content.transpose()?.unwrap_or_default())
        });
        return Ok(());
    }
    let more = block_text(block, "text or tool_result")?;
    match messages[before..].last_mut() {
        Some(Message {
            role,
            content: Some(text),
            ..
        }) if role == "user" => text.push_str(&more),
        _ => messages.push(text_message("user", more)),
    }
    Ok(())
}

/// The assistant's texts and uses of tools: one answer.
fn answer(blocks: Vec<ContentBlock>) -> Result<Message, ApiError> {
    let mut message = Message {
        role: "assistant".to_owned(),
        ..Message::default()
    };
    for block in blocks {
        if block.r#type == "tool_use" {
            message.calls.push(call(block)?);
        } else {
            let more = block_text(block, "text or tool_use")?;
            message.content.get_or_insert_default().push_str(&more);
        }
    }
    Ok(message)
}

fn call(block: ContentBlock) -> Result<ToolCall, ApiError> {
    let input = needed(block.input, "tool_use", "input")?;
    Ok(ToolCall {
        id: needed(block.id, "tool_use", "id")?,
        name: needed(block.name, "tool_use", "name")?,
        arguments: Value::Object(input).to_string(),
    })
}

fn block_text(block: ContentBlock, expected: &str) -> Result<String, ApiError> {
    if block.r#type != "text" {
        let kind = block.r#type;
        let message = format!("content blocks must be of type {expected} here, got {kind:?}");
        return Err(invalid("messages", message));
    }
    needed(block.text, "text", "text")
}

fn needed<T>(value: Option<T>, kind: &str, field: &str) -> Result<T, ApiError> {
    value.ok_or_else(|| {
        let message = format!("a content block of type {kind} needs {field}");
        invalid("messages", message)
    })
}

/// The blocks' texts, one after the other.
fn text(field: &'static str, text: TextOrBlocks) -> Result<String, ApiError> {
    let part = |block: TextBlockParam| match (block.r#type.as_str(), block.text) {
        ("text", Some(text)) => Ok(text),
        (kind, _) => {
            let message = format!("blocks must have type \"text\" and a text here, got {kind:?}");
            Err(invalid(field, message))
        }
    };
    match text {
        TextOrBlocks::Text(text) => Ok(text),
        TextOrBlocks::Blocks(blocks) => blocks.into_iter().map(part).collect(),
    }
}

fn tool(tool: ToolParam) -> Result<Tool, ApiError> {
    if let Some(kind) = tool.r#type.filter(|kind| kind != "custom") {
        let message = format!("tools must be of type \"custom\" or without one, got {kind:?}");
        return Err(invalid("tools", message));
    }
    if tool.name.is_empty() {
        return Err(invalid("tools", "a tool needs a name"));
    }
    Ok(Tool {
        name: tool.name,
        description: tool.description,
        parameters: tool.input_schema,
    })
}

fn tool_choice(choice: ToolChoiceParam) -> Result<ToolChoice, ApiError> {
    Ok(match (choice.r#type.as_str(), choice.name) {
        ("auto", _) => ToolChoice::Auto,
        ("any", _) => ToolChoice::Required,
        ("none", _) => ToolChoice::None,
        ("tool", Some(name)) => ToolChoice::Named(name),
        (kind, _) => {
            let message = format!(
                "tool_choice must have type \"auto\", \"any\", \"none\" or, with a name, \"tool\"; \
                 got {kind:?}"
            );
            return Err(invalid("tool_choice", message));
        }
    })
}

#[cfg(test)]
mod tests;
