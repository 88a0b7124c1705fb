//! What each field of `/v1/responses` and `/v1/messages` takes and refuses.

use serde_json::{Value, json};

use super::rows::{Row, only};

/// The fields of a response.
pub(crate) fn response_rows() -> Vec<Row> {
    let mut rows = vec![
        only("model", json!("tgi"), json!(5)),
        only("input", json!("x"), json!([])),
        only("instructions", Value::Null, json!(5)),
        only("previous_response_id", Value::Null, json!(5)),
        only("store", json!(false), json!("no")),
        only("max_output_tokens", json!(1), json!(0)),
        only("temperature", json!(2), json!(2.1)),
        only("top_p", json!(1), json!(0)),
        only("stream", json!(true), json!("yes")),
        only("parallel_tool_calls", json!(false), json!("no")),
        only("metadata", json!({"a": "b"}), json!({"a": 5})),
        only("user", json!("x"), json!(5)),
        only("background", json!(false), json!(true)),
        only("truncation", json!("disabled"), json!("auto")),
        only(
            "reasoning",
            json!({"effort": null}),
            json!({"effort": "low"}),
        ),
        only("prompt", Value::Null, json!({"id": "x"})),
        only("conversation", Value::Null, json!("conv_0")),
        only(
            "tools",
            json!([{"type": "function", "name": "f"}]),
            json!([{"type": "mcp"}]),
        ),
        only("tool_choice", json!("none"), json!("required")),
    ];
    let logprobs = json!(["message.output_text.logprobs"]);
    rows.extend([
        only(
            "include",
            logprobs.clone(),
            json!(["file_search_call.results"]),
        ),
        (
            "top_logprobs",
            vec![
                json!({"top_logprobs": 20, "include": logprobs}),
                json!({"top_logprobs": 0}),
            ],
            vec![
                (
                    json!({"top_logprobs": 21, "include": logprobs}),
                    "at most 20",
                ),
                (json!({"top_logprobs": 1}), "needs include"),
            ],
        ),
        (
            "text",
            vec![
                json!({"text": {"format": {"type": "json_object"}}}),
                json!({"text": {"verbosity": "medium"}}),
            ],
            vec![
                (json!({"text": {"format": {"type": "xml"}}}), "text.format"),
                (json!({"text": {"verbosity": "low"}}), "text.verbosity"),
            ],
        ),
    ]);
    rows
}

/// The fields of a message.
pub(crate) fn message_rows() -> Vec<Row> {
    let tool = json!({"name": "f", "input_schema": {"type": "object"}});
    let image = json!([{"role": "user", "content": [{"type": "image"}]}]);
    let schema = json!({"type": "json_schema", "schema": {"type": "object"}});
    vec![
        only("model", json!("tgi"), json!(5)),
        only("max_tokens", json!(1), json!(0)),
        (
            "messages",
            vec![json!({})],
            vec![(json!({"messages": image}), "text or tool_result")],
        ),
        only("system", Value::Null, json!(5)),
        only(
            "stop_sequences",
            json!(["a"]),
            json!(["a", "b", "c", "d", "e"]),
        ),
        only("temperature", json!(1), json!(1.1)),
        only("top_p", json!(1), json!(0)),
        only("top_k", json!(0), json!(-1)),
        only("stream", json!(true), json!("yes")),
        only(
            "tools",
            json!([tool]),
            json!([{"type": "bash_20250124", "name": "bash"}]),
        ),
        only(
            "tool_choice",
            json!({"type": "none"}),
            json!({"type": "any"}),
        ),
        only("metadata", json!({"user_id": "x"}), json!("x")),
        only(
            "output_config",
            json!({"format": schema}),
            json!({"effort": "low"}),
        ),
        only("cache_control", json!({"type": "ephemeral"}), json!("x")),
        only(
            "thinking",
            json!({"type": "disabled"}),
            json!({"type": "enabled"}),
        ),
        only("mcp_servers", json!([]), json!([{"name": "x"}])),
        only("container", Value::Null, json!("x")),
        only("context_management", Value::Null, json!({})),
    ]
}
