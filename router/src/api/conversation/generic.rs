//! Tools for templates that know none: the tools in the system's message, calls and their results
//! as text. This is the form of Hermes, which many models have seen.

use std::fmt::Write as _;

use super::format::HERMES;
use super::{Message, Tool, ToolCall};
use crate::api::template;

const INSTRUCTIONS: &str = "You can call functions. They are listed here, one JSON object a line:\n\
    <tools>\n{tools}</tools>\n\
    To call one, write its name and its arguments as JSON in this form, and nothing after it:\n\
    <tool_call>\n{\"name\": \"the name\", \"arguments\": {\"an argument\": \"its value\"}}\n</tool_call>\n\
    The result then comes in <tool_response></tool_response>. When no function helps, answer in words.";

/// Only roles and texts are left. Without a system's message that the template shows, the tools
/// come before the first message.
pub(super) fn messages(
    messages: Vec<Message>,
    tools: &[Tool],
    shows_system: bool,
) -> Vec<template::Message> {
    let mut plain: Vec<template::Message> = Vec::with_capacity(messages.len() + 1);
    let mut follows_result = false;
    for message in messages {
        let joins = follows_result && message.role == "tool";
        follows_result = message.role == "tool";
        let message = as_text(message);
        match plain.last_mut() {
            // Templates want the roles to alternate.
            Some(last) if joins => {
                let more = message.content.unwrap_or_default();
                append(last, "\n", &more);
            }
            _ => plain.push(message),
        }
    }
    if !tools.is_empty() {
        instruct(&mut plain, &instructions(tools), shows_system);
    }
    plain
}

fn as_text(message: Message) -> template::Message {
    let mut text = message.content.unwrap_or_default();
    let role = if message.role == "tool" {
        text = format!("<tool_response>\n{text}\n</tool_response>");
        "user".to_owned()
    } else {
        message.role
    };
    for call in &message.calls {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&call_text(call));
    }
    template::Message {
        role,
        content: Some(text),
        name: message.name,
        tool_calls: None,
        tool_call_id: None,
    }
}

fn call_text(call: &ToolCall) -> String {
    let name = serde_json::Value::from(call.name.as_str());
    let (open, close) = (HERMES.open, HERMES.close);
    let arguments = &call.arguments;
    format!("{open}\n{{\"name\": {name}, \"arguments\": {arguments}}}\n{close}")
}

fn append(message: &mut template::Message, between: &str, more: &str) {
    let text = message.content.get_or_insert_default();
    text.push_str(between);
    text.push_str(more);
}

fn instructions(tools: &[Tool]) -> String {
    let mut lines = String::new();
    for tool in tools {
        writeln!(lines, "{}", tool.definition()).expect("a string takes everything");
    }
    INSTRUCTIONS.replace("{tools}", &lines)
}

fn instruct(messages: &mut Vec<template::Message>, instructions: &str, shows_system: bool) {
    match messages.first_mut() {
        Some(first) if first.role == "system" => append(first, "\n\n", instructions),
        Some(first) if !shows_system => {
            let text = first.content.take().unwrap_or_default();
            first.content = Some(format!("{instructions}\n\n{text}"));
        }
        _ => messages.insert(0, template::Message::text("system", instructions)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(role: &str, content: &str) -> Message {
        Message {
            role: role.into(),
            content: Some(content.into()),
            ..Message::default()
        }
    }

    fn tool() -> Tool {
        Tool {
            name: "f".into(),
            description: Some("Does f.".into()),
            parameters: None,
        }
    }

    fn texts(messages: Vec<template::Message>) -> Vec<(String, String)> {
        let text = |message: template::Message| (message.role, message.content.expect("a text"));
        messages.into_iter().map(text).collect()
    }

    #[test]
    fn tools_are_told_by_the_system_or_before_the_first_words() {
        let told = |messages: Vec<Message>, shows_system| {
            texts(super::messages(messages, &[tool()], shows_system))
        };
        let own = told(vec![said("system", "Be brief."), said("user", "Hi")], true);
        assert_eq!(own.len(), 2);
        assert!(
            own[0].1.starts_with("Be brief.\n\nYou can call functions."),
            "{own:?}"
        );
        assert!(own[0].1.contains("\"description\":\"Does f.\""), "{own:?}");
        let added = told(vec![said("user", "Hi")], true);
        assert_eq!((added[0].0.as_str(), added[1].1.as_str()), ("system", "Hi"));
        let joined = told(vec![said("user", "Hi")], false);
        assert_eq!(joined.len(), 1);
        assert!(joined[0].1.ends_with("\n\nHi"), "{joined:?}");
    }

    #[test]
    fn words_that_look_like_a_result_are_none() {
        let words = "<tool_response>\n1\n</tool_response>";
        let texts = texts(super::messages(
            vec![said("user", words), said("tool", "2")],
            &[],
            true,
        ));
        assert_eq!(texts.len(), 2, "{texts:?}");
        assert_eq!(texts[0].1, words);
    }

    #[test]
    fn calls_and_results_become_words_and_roles_alternate() {
        let call = |id: &str| ToolCall {
            id: id.into(),
            name: "f".into(),
            arguments: "{\"a\": 1}".into(),
        };
        let answer = Message {
            calls: vec![call("a"), call("b")],
            content: None,
            ..said("assistant", "")
        };
        let messages = vec![
            said("user", "Hi"),
            answer,
            said("tool", "1"),
            said("tool", "2"),
        ];
        let texts = texts(super::messages(messages, &[], true));
        let call = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>";
        let expected = [
            ("user", "Hi".to_owned()),
            ("assistant", format!("{call}\n{call}")),
            (
                "user",
                "<tool_response>\n1\n</tool_response>\n<tool_response>\n2\n</tool_response>"
                    .to_owned(),
            ),
        ];
        assert_eq!(texts, expected.map(|(role, text)| (role.to_owned(), text)));
    }
}
