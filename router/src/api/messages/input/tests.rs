use serde_json::json;

use super::*;

fn read(body: Value) -> Result<Conversation, ApiError> {
    conversation(serde_json::from_value(body).expect("a request"))
}

fn refusal(body: Value) -> (String, String) {
    match read(body).expect_err("it is refused") {
        ApiError::Invalid { param, message, .. } => (param.expect("a field").into_owned(), message),
        other => panic!("{other:?}"),
    }
}

#[test]
fn texts_and_blocks_say_the_same() {
    let whole = json!({"system": "Be brief.", "messages": [{"role": "user", "content": "Hi you"}]});
    let ephemeral = json!({"type": "ephemeral"});
    let blocks = json!({
        "system": [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief.", "cache_control": ephemeral}],
        "messages": [{"role": "user", "content": [
            {"type": "text", "text": "Hi "}, {"type": "text", "text": "you", "cache_control": ephemeral}]}],
    });
    let read_whole = read(whole).expect("valid");
    assert_eq!(read_whole, read(blocks).expect("valid"));
    let expected = [
        text_message("system", "Be brief.".into()),
        text_message("user", "Hi you".into()),
    ];
    assert_eq!(read_whole.messages, expected);
}

#[test]
fn uses_belong_to_their_answer_and_results_are_messages() {
    let messages = json!([
        {"role": "user", "content": "How many?"},
        {"role": "assistant", "content": [
            {"type": "text", "text": "Let me see."},
            {"type": "tool_use", "id": "a", "name": "f", "input": {"z": 1, "a": [2]}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "42"}]},
            {"type": "tool_result", "tool_use_id": "b", "is_error": true},
            {"type": "text", "text": "And "}, {"type": "text", "text": "now?"}]},
    ]);
    let call = ToolCall {
        id: "a".into(),
        name: "f".into(),
        arguments: r#"{"z":1,"a":[2]}"#.into(),
    };
    let result = |id: &str, text: &str| Message {
        tool_call_id: Some(id.into()),
        ..text_message("tool", text.into())
    };
    let expected = [
        text_message("user", "How many?".into()),
        Message {
            calls: vec![call],
            ..text_message("assistant", "Let me see.".into())
        },
        result("a", "42"),
        result("b", ""),
        text_message("user", "And now?".into()),
    ];
    assert_eq!(
        read(json!({"messages": messages})).expect("valid").messages,
        expected
    );
}

#[test]
fn messages_of_the_user_stay_apart() {
    let said = |text: &str| json!({"role": "user", "content": [{"type": "text", "text": text}]});
    let messages = read(json!({"messages": [said("a"), said("b")]}))
        .expect("valid")
        .messages;
    assert_eq!(messages.len(), 2);
}

#[test]
fn the_choice_among_tools_is_read() {
    let tools = json!([{"name": "f", "input_schema": {"type": "object"}}]);
    for (sent, expected, parallel) in [
        (json!(null), ToolChoice::Auto, true),
        (json!({"type": "auto"}), ToolChoice::Auto, true),
        (
            json!({"type": "any", "disable_parallel_tool_use": true}),
            ToolChoice::Required,
            false,
        ),
        (json!({"type": "none"}), ToolChoice::None, true),
        (
            json!({"type": "tool", "name": "f"}),
            ToolChoice::Named("f".into()),
            true,
        ),
    ] {
        let read =
            read(json!({"messages": [], "tools": tools, "tool_choice": sent})).expect("valid");
        assert_eq!((read.choice, read.parallel), (expected, parallel));
        assert_eq!(read.tools.len(), 1);
    }
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let said = |role: &str, block: Value| json!({"messages": [{"role": role, "content": [block]}]});
    for (body, field, says) in [
        (
            said("user", json!({"type": "image"})),
            "messages",
            "got \"image\"",
        ),
        (
            said("user", json!({"type": "tool_use"})),
            "messages",
            "got \"tool_use\"",
        ),
        (
            said("assistant", json!({"type": "thinking"})),
            "messages",
            "got \"thinking\"",
        ),
        (
            said(
                "assistant",
                json!({"type": "tool_use", "id": "a", "name": "f"}),
            ),
            "messages",
            "needs input",
        ),
        (
            said("user", json!({"type": "tool_result"})),
            "messages",
            "needs tool_use_id",
        ),
        (
            said("user", json!({"type": "text"})),
            "messages",
            "needs text",
        ),
        (
            said("system", json!({"type": "text", "text": "x"})),
            "messages",
            "field system",
        ),
        (
            json!({"messages": [], "system": [{"type": "image"}]}),
            "system",
            "got \"image\"",
        ),
        (
            json!({"messages": [], "tools": [{"type": "bash_20250124", "name": "bash"}]}),
            "tools",
            "bash_20250124",
        ),
        (
            json!({"messages": [], "tool_choice": {"type": "tool"}}),
            "tool_choice",
            "with a name",
        ),
    ] {
        let (param, message) = refusal(body);
        assert_eq!(param, field);
        assert!(message.contains(says), "{message}");
    }
}
