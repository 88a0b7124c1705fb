use serde_json::{Value, json};

use super::*;

fn read(body: Value) -> Result<Conversation, ApiError> {
    let mut request: ResponsesRequest = serde_json::from_value(body).expect("a request");
    let items = new_items(request.input.take())?;
    conversation(&request, items)
}

fn refusal(body: Value) -> (String, String) {
    match read(body).expect_err("it is refused") {
        ApiError::Invalid { param, message, .. } => (param.expect("a field").into_owned(), message),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_text_is_the_users() {
    let read = read(json!({"input": "Hi", "instructions": "Be brief."})).expect("valid");
    let expected = [
        text_message("system", "Be brief.".into()),
        text_message("user", "Hi".into()),
    ];
    assert_eq!(read.messages, expected);
    assert_eq!((read.choice, read.parallel), (ToolChoice::Auto, true));
}

#[test]
fn calls_join_the_message_that_they_follow() {
    let call =
        |id: &str| json!({"type": "function_call", "call_id": id, "name": "f", "arguments": "{}"});
    let part = json!({"type": "output_text", "text": "Let me see.", "annotations": []});
    let result = json!([{"type": "input_text", "text": "4"}, {"type": "input_text", "text": "2"}]);
    let input = json!([
        {"role": "user", "content": [{"type": "input_text", "text": "How "}, {"type": "input_text", "text": "many?"}]},
        {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed", "content": [part]},
        call("a"), call("b"),
        {"type": "function_call_output", "call_id": "a", "output": result},
        {"type": "function_call_output", "call_id": "b", "output": "43"},
        call("c"),
    ]);
    let messages = read(json!({"input": input})).expect("valid").messages;
    let tool_call = |id: &str| ToolCall {
        id: id.into(),
        name: "f".into(),
        arguments: "{}".into(),
    };
    let result = |id: &str, text: &str| Message {
        tool_call_id: Some(id.into()),
        ..text_message("tool", text.into())
    };
    let expected = [
        text_message("user", "How many?".into()),
        Message {
            calls: vec![tool_call("a"), tool_call("b")],
            ..text_message("assistant", "Let me see.".into())
        },
        result("a", "42"),
        result("b", "43"),
        Message {
            role: "assistant".into(),
            calls: vec![tool_call("c")],
            ..Message::default()
        },
    ];
    assert_eq!(messages, expected);
}

#[test]
fn output_comes_back_as_the_same_messages() {
    let output = [
        OutputItem::Message {
            id: "msg_1".into(),
            status: crate::api::types::response_object::ResponseStatus::Completed,
            role: "assistant",
            content: vec![crate::api::types::response_object::OutputText {
                text: "Yes.".into(),
                ..Default::default()
            }],
        },
        OutputItem::FunctionCall {
            id: "fc_1".into(),
            call_id: "c".into(),
            name: "f".into(),
            arguments: "{\"a\": 1}".into(),
            status: crate::api::types::response_object::ResponseStatus::Completed,
        },
    ];
    let items: Vec<_> = output_items(&output).collect();
    let json = serde_json::to_vec(&items).expect("plain data");
    let read: Vec<InputItem> = serde_json::from_slice(&json).expect("items");
    assert_eq!(read, items);
    let sent: Vec<InputItem> =
        serde_json::from_value(serde_json::to_value(&output).expect("plain data")).expect("items");
    let messages = |items| {
        let conversation = conversation(&ResponsesRequest::default(), items);
        conversation.expect("valid").messages
    };
    assert_eq!(
        messages(items),
        messages(sent),
        "kept here or sent back by the client"
    );
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    for (input, says) in [
        (json!([]), "input is empty"),
        (json!(null), "input is empty"),
        (json!([{"role": "user"}]), "needs content"),
        (json!([{"content": "x"}]), "needs role"),
        (json!([{"role": "tool", "content": "x"}]), "got \"tool\""),
        (json!([{"type": "reasoning"}]), "got \"reasoning\""),
        (
            json!([{"type": "item_reference", "id": "x"}]),
            "got \"item_reference\"",
        ),
        (
            json!([{"type": "function_call", "name": "f", "arguments": "{}"}]),
            "needs call_id",
        ),
        (
            json!([{"role": "user", "content": [{"type": "input_image"}]}]),
            "got \"input_image\"",
        ),
    ] {
        let (field, message) = refusal(json!({"input": input}));
        assert_eq!(field, "input");
        assert!(message.contains(says), "{message}");
    }
    let tools = json!([{"type": "web_search"}]);
    let (field, message) = refusal(json!({"input": "x", "tools": tools}));
    assert_eq!(field, "tools");
    assert!(message.contains("got \"web_search\""), "{message}");
    let (field, _) = refusal(json!({"input": "x", "tool_choice": {"type": "file_search"}}));
    assert_eq!(field, "tool_choice");
}

#[test]
fn the_choice_among_tools_is_read() {
    for (sent, expected) in [
        (json!(null), ToolChoice::Auto),
        (json!("auto"), ToolChoice::Auto),
        (json!("none"), ToolChoice::None),
        (json!("required"), ToolChoice::Required),
        (
            json!({"type": "function", "name": "f"}),
            ToolChoice::Named("f".into()),
        ),
    ] {
        let body = json!({"input": "x", "tools": [{"type": "function", "name": "f"}], "tool_choice": sent});
        assert_eq!(read(body).expect("valid").choice, expected);
    }
}
