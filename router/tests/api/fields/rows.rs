//! What each field takes and refuses.

use serde_json::{Value, json};

/// A field, requests that it makes valid, and requests that it makes wrong with what they are told.
pub(super) type Row = (&'static str, Vec<Value>, Vec<(Value, &'static str)>);

/// The parameters of native requests.
pub(super) fn native_rows() -> Vec<Row> {
    let mut rows = native_sampling_rows();
    rows.extend(native_length_rows());
    rows.extend(native_report_rows());
    rows
}

/// A field that is true or false.
fn flag(field: &'static str) -> Row {
    let good = vec![json!({field: true}), json!({field: false})];
    (field, good, vec![(json!({field: "yes"}), field)])
}

fn native_sampling_rows() -> Vec<Row> {
    let range = |field: &'static str, good: &[f64], bad: &[f64], says: &'static str| -> Row {
        let with = |value: &f64| json!({field: value});
        let bad = bad.iter().map(|value| (with(value), says)).collect();
        (field, good.iter().map(with).collect(), bad)
    };
    vec![
        (
            "best_of",
            vec![
                json!({"best_of": 1, "seed": 1}),
                json!({"best_of": 2, "do_sample": true}),
            ],
            vec![
                (json!({"best_of": 0}), "best_of must be at least 1"),
                (
                    json!({"best_of": 3, "do_sample": true}),
                    "best_of must be at most 2",
                ),
                (json!({"best_of": 2}), "needs sampling"),
                (json!({"best_of": 2, "top_k": 2, "seed": 1}), "seed"),
            ],
        ),
        range(
            "temperature",
            &[0.1, 1.0, 100.0],
            &[0.0, -1.0],
            "temperature must be above 0",
        ),
        range(
            "repetition_penalty",
            &[0.5, 2.0],
            &[0.0, -1.0],
            "repetition_penalty must be above 0",
        ),
        range(
            "frequency_penalty",
            &[-2.0, 0.0, 2.0],
            &[-2.1, 2.1],
            "must be from -2 to 2",
        ),
        (
            "top_k",
            vec![json!({"top_k": 1}), json!({"top_k": 1_000_000})],
            vec![
                (json!({"top_k": 0}), "top_k must be at least 1"),
                (json!({"top_k": -1}), "top_k"),
            ],
        ),
        range(
            "top_p",
            &[0.01, 1.0],
            &[0.0, 1.01, -0.5],
            "top_p must be above 0 and at most 1",
        ),
        range(
            "typical_p",
            &[0.01, 1.0],
            &[0.0, 1.01],
            "typical_p must be above 0 and at most 1",
        ),
        flag("do_sample"),
    ]
}

fn native_length_rows() -> Vec<Row> {
    vec![
        (
            "max_new_tokens",
            vec![
                json!({"max_new_tokens": 1}),
                json!({"max_new_tokens": 4094}),
            ],
            vec![
                (
                    json!({"max_new_tokens": 0}),
                    "max_new_tokens must be at least 1",
                ),
                (json!({"max_new_tokens": -1}), "max_new_tokens"),
                (json!({"max_new_tokens": 4095}), "must be at most 4096"),
            ],
        ),
        flag("return_full_text"),
        (
            "stop",
            vec![json!({"stop": []}), json!({"stop": ["a", "b", "c", "d"]})],
            vec![
                (
                    json!({"stop": ["a", "b", "c", "d", "e"]}),
                    "at most 4 strings, got 5",
                ),
                (json!({"stop": "a"}), "stop"),
                (json!({"stop": [""]}), "must not be empty"),
            ],
        ),
        (
            "truncate",
            vec![json!({"truncate": 1}), json!({"truncate": 4000})],
            vec![
                (json!({"truncate": 0}), "truncate must be at least 1"),
                (json!({"truncate": 4001}), "truncate must be at most 4000"),
            ],
        ),
    ]
}

fn native_report_rows() -> Vec<Row> {
    let nine = json!({"type": "regex", "value": "[0-9]"});
    vec![
        flag("watermark"),
        flag("details"),
        flag("decoder_input_details"),
        (
            "prefill_progress",
            vec![json!({"prefill_progress": false})],
            vec![(json!({"prefill_progress": true}), "needs a stream")],
        ),
        (
            "seed",
            vec![json!({"seed": 0}), json!({"seed": u64::MAX})],
            vec![
                (json!({"seed": -1}), "seed"),
                (json!({"seed": 0.5}), "seed"),
            ],
        ),
        (
            "top_n_tokens",
            vec![json!({"top_n_tokens": 0}), json!({"top_n_tokens": 5})],
            vec![(
                json!({"top_n_tokens": 21}),
                "top_n_tokens must be at most 20",
            )],
        ),
        (
            "grammar",
            vec![
                json!({"grammar": nine}),
                json!({"grammar": {"type": "json", "value": {"type": "object"}}}),
            ],
            vec![
                (
                    json!({"grammar": {"type": "regex", "value": "("}}),
                    "grammar",
                ),
                (json!({"grammar": nine, "ignore_eos": true}), "ignore_eos"),
            ],
        ),
        (
            "adapter_id",
            vec![json!({"adapter_id": ""})],
            vec![(json!({"adapter_id": 5}), "adapter_id")],
        ),
        flag("ignore_eos"),
    ]
}

/// A field that takes one value and refuses another.
pub(super) fn only(field: &'static str, good: Value, bad: Value) -> Row {
    (
        field,
        vec![json!({field: good})],
        vec![(json!({field: bad}), field)],
    )
}

fn sampling_rows() -> Vec<Row> {
    let range = |field: &'static str, good: &[f64], bad: &[f64]| -> Row {
        let with = |value: &f64| json!({field: value});
        let bad = bad.iter().map(|value| (with(value), field)).collect();
        (field, good.iter().map(with).collect(), bad)
    };
    let biases = |count: u32| -> Value {
        let biases = (0..count).map(|id| (id.to_string(), json!(1)));
        json!({"logit_bias": Value::Object(biases.collect())})
    };
    vec![
        (
            "model",
            vec![json!({"model": "tgi"})],
            vec![(json!({"model": 5}), "model")],
        ),
        range("temperature", &[0.0, 1.0, 2.0], &[-0.1, 2.1]),
        range("top_p", &[0.01, 1.0], &[0.0, 1.1]),
        (
            "top_k",
            vec![
                json!({"top_k": 5}),
                json!({"top_k": 0}),
                json!({"top_k": -1}),
            ],
            vec![(json!({"top_k": -2}), "top_k must be from -1")],
        ),
        range("min_p", &[0.0], &[0.1]),
        only("min_tokens", json!(0), json!(1)),
        range("repetition_penalty", &[0.5, 2.0], &[0.0, -1.0]),
        only("ignore_eos", json!(true), json!("yes")),
        range("frequency_penalty", &[-2.0, 2.0], &[-2.1, 2.1]),
        range("presence_penalty", &[-2.0, 2.0], &[-2.1, 2.1]),
        (
            "stop",
            vec![json!({"stop": "a"}), json!({"stop": ["a", "b", "c", "d"]})],
            vec![
                (json!({"stop": ["a", "b", "c", "d", "e"]}), "got 5"),
                (json!({"stop": ""}), "empty"),
            ],
        ),
        (
            "stream",
            vec![json!({"stream": true}), json!({"stream": false})],
            vec![(json!({"stream": "yes"}), "stream")],
        ),
        (
            "stream_options",
            vec![json!({"stream_options": {"include_usage": true}, "stream": true})],
            vec![(json!({"stream_options": "usage"}), "stream_options")],
        ),
        (
            "seed",
            vec![json!({"seed": -1}), json!({"seed": i64::MAX})],
            vec![(json!({"seed": 0.5}), "seed")],
        ),
        (
            "n",
            vec![json!({"n": 1}), json!({"n": 4})],
            vec![
                (json!({"n": 0}), "n must be at least 1"),
                (json!({"n": 100}), "n must be at most"),
            ],
        ),
        (
            "logit_bias",
            vec![
                json!({"logit_bias": {"97": -100, "98": 100}}),
                json!({"logit_bias": {}}),
            ],
            vec![
                (json!({"logit_bias": {"97": 101}}), "from -100 to 100"),
                (json!({"logit_bias": {"a": 1}}), "token ids"),
                (json!({"logit_bias": {"100000": 1}}), "below 263"),
                (biases(301), "at most 300"),
            ],
        ),
    ]
}

/// The fields of a chat.
pub(super) fn chat_rows() -> Vec<Row> {
    let mut rows = sampling_rows();
    rows.extend(chat_tool_rows());
    rows.extend(chat_template_rows());
    rows.extend(chat_answer_rows());
    rows
}

fn chat_answer_rows() -> Vec<Row> {
    vec![
        only("max_tokens", json!(1), json!(0)),
        only("max_completion_tokens", json!(1), json!(0)),
        only("logprobs", json!(true), json!(5)),
        (
            "top_logprobs",
            vec![
                json!({"top_logprobs": 20, "logprobs": true}),
                json!({"top_logprobs": 0}),
            ],
            vec![
                (json!({"top_logprobs": 21, "logprobs": true}), "at most 20"),
                (json!({"top_logprobs": 1}), "needs logprobs"),
            ],
        ),
    ]
}

fn chat_tool_rows() -> Vec<Row> {
    let function = json!({"type": "function", "function": {"name": "f"}});
    vec![
        only("tools", json!([function]), json!([{"type": "web_search"}])),
        (
            "tool_choice",
            vec![
                json!({"tool_choice": "none"}),
                json!({"tool_choice": "auto", "tools": [function]}),
                json!({"tool_choice": "required", "tools": [function]}),
                json!({"tool_choice": function, "tools": [function]}),
            ],
            vec![
                (json!({"tool_choice": "required"}), "no tools"),
                (json!({"tool_choice": function}), "none of the tools"),
                (json!({"tool_choice": "sometimes"}), "tool_choice must be"),
            ],
        ),
        only("parallel_tool_calls", json!(false), json!("no")),
        only("functions", Value::Null, json!([])),
        only("function_call", Value::Null, json!("none")),
    ]
}

fn chat_template_rows() -> Vec<Row> {
    let user = json!({"role": "user", "content": "x"});
    vec![
        only("messages", json!([user]), json!([])),
        only(
            "response_format",
            json!({"type": "json_object"}),
            json!({"type": "xml"}),
        ),
        only(
            "chat_template_kwargs",
            json!({"a": 1}),
            json!({"tools": []}),
        ),
        only("add_generation_prompt", json!(false), json!("no")),
        (
            "continue_final_message",
            vec![json!({"continue_final_message": true})],
            vec![(
                json!({"continue_final_message": true, "add_generation_prompt": true}),
                "exclude one another",
            )],
        ),
        only("chat_template", Value::Null, json!("{{ x }}")),
        only("modalities", json!(["text"]), json!(["audio"])),
        only("audio", Value::Null, json!({})),
        only("web_search_options", Value::Null, json!({})),
        only("reasoning_effort", json!("none"), json!("high")),
        only("verbosity", json!("medium"), json!("high")),
        only("store", json!(false), json!(true)),
    ]
}

/// The fields of a completion.
pub(super) fn completion_rows() -> Vec<Row> {
    let mut rows = sampling_rows();
    rows.extend([
        (
            "prompt",
            vec![
                json!({"prompt": "x"}),
                json!({"prompt": ["x", "y"]}),
                json!({"prompt": [97]}),
                json!({"prompt": [[97], [98]]}),
            ],
            vec![
                (json!({"prompt": ""}), "prompt is empty"),
                (json!({"prompt": []}), "prompt is empty"),
                (json!({"prompt": {"text": "x"}}), "expected a string"),
                (json!({"prompt": [263]}), "token ids must be below 263"),
            ],
        ),
        (
            "max_tokens",
            vec![
                json!({"max_tokens": 1}),
                json!({"max_tokens": 0, "echo": true}),
            ],
            vec![(json!({"max_tokens": 0}), "max_tokens must be at least 1")],
        ),
        only("logprobs", json!(20), json!(21)),
        only("best_of", json!(2), json!(3)),
        only("echo", json!(true), json!("yes")),
        only("suffix", json!(""), json!("x")),
        (
            "response_format",
            vec![
                json!({"response_format": {"type": "regex", "value": "[0-9]"}}),
                json!({"response_format": {"type": "text"}, "ignore_eos": true}),
            ],
            vec![
                (
                    json!({"response_format": {"type": "xml"}}),
                    "response_format",
                ),
                (
                    json!({"response_format": {"type": "json_object"}, "ignore_eos": true}),
                    "ignore_eos cannot be combined",
                ),
            ],
        ),
    ]);
    rows
}
