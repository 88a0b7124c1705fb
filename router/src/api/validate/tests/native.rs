use serde_json::{Value, json};

use super::*;

#[test]
fn without_parameters_the_likeliest_token_is_taken() {
    let plan = native_plan(json!({})).unwrap();
    let greedy = Sampling {
        temperature: 0.0,
        ..Sampling::default()
    };
    assert_eq!(plan.sampling, greedy);
    assert_eq!(
        (plan.answers, plan.top_n_tokens, plan.max_new_tokens),
        (1, 0, None)
    );
    assert!(!plan.is_sampled() && !plan.ignore_eos && plan.stop.is_empty());
}

#[test]
fn null_equals_absent_for_every_native_parameter() {
    let names = [
        "best_of",
        "temperature",
        "repetition_penalty",
        "frequency_penalty",
        "top_k",
        "top_p",
        "typical_p",
        "do_sample",
        "max_new_tokens",
        "return_full_text",
        "stop",
        "truncate",
        "watermark",
        "details",
        "decoder_input_details",
        "seed",
        "top_n_tokens",
        "grammar",
        "adapter_id",
        "ignore_eos",
    ];
    let nulls: serde_json::Map<String, Value> = names
        .iter()
        .map(|&name| (name.to_owned(), Value::Null))
        .collect();
    assert_eq!(native_plan(nulls.into()), native_plan(json!({})));
}

#[test]
fn sampling_is_implied_by_its_parameters() {
    for parameters in [
        json!({"do_sample": true}),
        json!({"temperature": 1.0}),
        json!({"top_k": 5}),
        json!({"top_p": 1.0}),
        json!({"typical_p": 0.9}),
    ] {
        assert!(
            native_plan(parameters.clone()).unwrap().is_sampled(),
            "{parameters}"
        );
    }
    let plan = native_plan(json!({"do_sample": false, "seed": 3, "repetition_penalty": 1.2}));
    assert!(!plan.unwrap().is_sampled());
}

#[test]
fn native_values_out_of_range_are_refused_by_name_and_value() {
    for (parameters, expected) in [
        (
            json!({"temperature": 0.0}),
            "temperature must be above 0, got 0",
        ),
        (
            json!({"temperature": -1.0}),
            "temperature must be above 0, got -1",
        ),
        (
            json!({"temperature": 1e39}),
            "temperature must be above 0, got inf",
        ),
        (
            json!({"repetition_penalty": 0.0}),
            "repetition_penalty must be above 0, got 0",
        ),
        (
            json!({"frequency_penalty": 2.5}),
            "frequency_penalty must be from -2 to 2, got 2.5",
        ),
        (
            json!({"top_p": 0.0}),
            "top_p must be above 0 and at most 1, got 0",
        ),
        (
            json!({"top_p": 1.5}),
            "top_p must be above 0 and at most 1, got 1.5",
        ),
        (
            json!({"typical_p": -0.5}),
            "typical_p must be above 0 and at most 1, got -0.5",
        ),
        (json!({"top_k": 0}), "top_k must be at least 1, got 0"),
        (
            json!({"max_new_tokens": 0}),
            "max_new_tokens must be at least 1, got 0",
        ),
        (json!({"truncate": 0}), "truncate must be at least 1, got 0"),
        (
            json!({"top_n_tokens": 21}),
            "top_n_tokens must be at most 20, got 21",
        ),
        (
            json!({"stop": ["a", "b", "c", "d", "e"]}),
            "stop must have at most 4 strings, got 5",
        ),
        (json!({"stop": [""]}), "a stop string must not be empty"),
        (
            json!({"stop": ["x".repeat(257)]}),
            "at most 256 bytes, got 257",
        ),
        (json!({"best_of": 0}), "best_of must be at least 1, got 0"),
        (
            json!({"best_of": 3, "do_sample": true}),
            "best_of must be at most 2, got 3",
        ),
        (json!({"best_of": 2}), "best_of = 2 needs sampling"),
        (
            json!({"best_of": 2, "do_sample": true, "seed": 1}),
            "cannot be combined with seed",
        ),
        (
            json!({"prefill_progress": true}),
            "prefill_progress needs a stream",
        ),
        (
            json!({"grammar": {"type": "regex"}}),
            "grammar of type regex needs a string",
        ),
        (json!({"adapter_id": "x"}), "adapter \"x\" is not served"),
    ] {
        let error = native_plan(parameters.clone()).unwrap_err();
        assert!(error.contains(expected), "{parameters}: {error}");
    }
}

#[test]
fn what_a_stream_can_tell_and_what_it_cannot() {
    let plan = |parameters: Value| {
        let parameters = serde_json::from_value(parameters).expect("parameters");
        native(&parameters, Delivery::Stream, &Limits::default())
    };
    let told = plan(json!({"prefill_progress": true})).expect("a stream");
    assert!(told.progress && !told.prompt_logprobs);
    let refused = plan(json!({"decoder_input_details": true})).unwrap_err();
    assert!(
        refused.to_string().contains("cannot be streamed"),
        "{refused}"
    );
}

#[test]
fn native_values_at_their_limits_are_taken() {
    for parameters in [
        json!({"top_p": 1.0, "typical_p": 1.0, "frequency_penalty": -2.0, "top_n_tokens": 20}),
        json!({"stop": ["a", "b", "c", "x".repeat(256)], "watermark": true}),
        json!({"best_of": 2, "do_sample": true}),
        json!({"best_of": 1, "seed": 1, "decoder_input_details": true}),
        json!({"seed": u64::MAX}),
    ] {
        assert!(native_plan(parameters.clone()).is_ok(), "{parameters}");
    }
}

#[test]
fn several_answers_cannot_be_streamed() {
    let parameters = Parameters {
        best_of: Some(2),
        do_sample: Some(true),
        ..Default::default()
    };
    let error = native(&parameters, Delivery::Stream, &Limits::default()).unwrap_err();
    assert!(
        error.to_string().contains("best_of = 2 cannot be streamed"),
        "{error}"
    );
    let parameters = Parameters {
        best_of: Some(1),
        ..Default::default()
    };
    assert!(native(&parameters, Delivery::Stream, &Limits::default()).is_ok());
}
