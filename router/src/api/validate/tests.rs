use serde_json::{Value, json};

use super::*;
use crate::api::types::chat::ChatRequest;
use crate::api::types::completion::CompletionRequest;
use crate::api::types::native::Parameters;
use crate::config::Limits;

const EOS: &[u32] = &[2, 7];
const ROOM: Room<'static> = Room {
    vocab_size: 1000,
    watermark: Watermark {
        gamma: 0.5,
        delta: 2.0,
    },
    max_input_tokens: 100,
    max_total_tokens: 120,
    eos_token_ids: EOS,
};

fn native_plan(parameters: Value) -> Result<Plan, String> {
    let parameters: Parameters = serde_json::from_value(parameters).unwrap();
    native(&parameters, Delivery::Whole, &Limits::default()).map_err(|error| error.to_string())
}

fn chat_plan(mut request: Value) -> Result<Plan, String> {
    request["messages"] = json!([]);
    let request: ChatRequest = serde_json::from_value(request).unwrap();
    chat(&request, &Limits::default()).map_err(|error| error.to_string())
}

fn completion_plan(mut request: Value, prompts: usize) -> Result<Plan, String> {
    request["prompt"] = json!("x");
    let request: CompletionRequest = serde_json::from_value(request).unwrap();
    completion(&request, prompts, &Limits::default()).map_err(|error| error.to_string())
}

fn fit(parameters: Value, prompt: usize) -> Result<ValidRequest, String> {
    let plan = native_plan(parameters).unwrap();
    plan.fit((0..prompt as u32).collect(), (5, 1), ROOM)
        .map_err(|error| error.to_string())
}

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
fn a_watermark_is_the_one_of_the_server() {
    for (asked, expected) in [(true, Some(ROOM.watermark)), (false, None)] {
        let parameters = serde_json::from_value(json!({"watermark": asked})).expect("parameters");
        let plan = native(&parameters, Delivery::Whole, &Limits::default()).expect("valid");
        let request = plan.fit(vec![1], (0, 0), ROOM).expect("fits");
        assert_eq!(request.sampling.watermark, expected);
    }
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

#[test]
fn the_answer_gets_the_room_that_is_left() {
    assert_eq!(fit(json!({}), 100).unwrap().max_new_tokens, 20);
    assert_eq!(
        fit(json!({"max_new_tokens": 20}), 100)
            .unwrap()
            .max_new_tokens,
        20
    );
    let error = fit(json!({"max_new_tokens": 21}), 100).unwrap_err();
    assert!(error.contains("at most 120, got 100 + 21"), "{error}");
    let error = fit(json!({"max_new_tokens": u32::MAX}), 1).unwrap_err();
    assert!(error.contains("got 1 + 4294967295"), "{error}");
}

#[test]
fn prompts_too_long_or_empty_are_refused() {
    let error = fit(json!({}), 101).unwrap_err();
    assert!(
        error.contains("the prompt has 101 tokens, the limit is 100"),
        "{error}"
    );
    assert!(fit(json!({}), 0).unwrap_err().contains("no tokens"));
    let plan = native_plan(json!({})).unwrap();
    let tight = Room {
        max_total_tokens: 100,
        ..ROOM
    };
    let error = plan
        .fit(vec![1; 100], (0, 0), tight)
        .unwrap_err()
        .to_string();
    assert!(error.contains("the limit is 99"), "{error}");
}

#[test]
fn truncation_keeps_the_end_of_the_prompt() {
    assert_eq!(
        fit(json!({"truncate": 3}), 110).unwrap().tokens,
        [107, 108, 109]
    );
    assert_eq!(fit(json!({"truncate": 3}), 2).unwrap().tokens, [0, 1]);
    let error = fit(json!({"truncate": 101}), 2).unwrap_err();
    assert!(
        error.contains("truncate must be at most 100, got 101"),
        "{error}"
    );
}

#[test]
fn answers_of_one_prompt_draw_with_different_seeds() {
    assert_eq!(fit(json!({"do_sample": true}), 1).unwrap().sampling.seed, 6);
    assert_eq!(
        fit(json!({}), 1).unwrap().sampling.seed,
        0,
        "greedy answers need none"
    );
}

#[test]
fn end_of_text_ends_the_answer_unless_it_is_ignored() {
    assert_eq!(fit(json!({}), 1).unwrap().stop_token_ids, EOS);
    assert!(
        fit(json!({"ignore_eos": true}), 1)
            .unwrap()
            .stop_token_ids
            .is_empty()
    );
}

#[test]
fn chat_samples_by_default_and_not_at_temperature_zero() {
    assert_eq!(chat_plan(json!({})).unwrap().sampling.temperature, 1.0);
    assert_eq!(
        chat_plan(json!({"temperature": null}))
            .unwrap()
            .sampling
            .temperature,
        1.0
    );
    assert!(!chat_plan(json!({"temperature": 0})).unwrap().is_sampled());
}

#[test]
fn chat_takes_what_openai_clients_send() {
    let plan = chat_plan(json!({
        "stop": "a", "seed": -1, "n": 2, "logprobs": true, "top_logprobs": 3, "max_tokens": 4,
        "max_completion_tokens": 5, "presence_penalty": 1.5, "frequency_penalty": -0.5, "tools": [],
        "tool_choice": "auto", "response_format": {"type": "text"}, "logit_bias": {}, "user": "me",
    }));
    let plan = plan.unwrap();
    assert_eq!(
        (plan.stop, plan.seed, plan.answers),
        (vec!["a".to_owned()], Some(u64::MAX), 2)
    );
    assert_eq!((plan.top_n_tokens, plan.max_new_tokens), (3, Some(5)));
    assert_eq!(
        (
            plan.sampling.presence_penalty,
            plan.sampling.frequency_penalty
        ),
        (1.5, -0.5)
    );
    assert_eq!(
        chat_plan(json!({"stop": ["a", "b"]})).unwrap().stop.len(),
        2
    );
}

fn many_biases(count: u32) -> Value {
    let biases = (0..count).map(|id| (id.to_string(), json!(-100)));
    Value::Object(biases.collect())
}

#[test]
fn chat_takes_biases_up_to_their_limits() {
    let plan = chat_plan(json!({"logit_bias": {"7": 100, "11": -100}})).unwrap();
    assert_eq!(plan.logit_bias, [(11, -100.0), (7, 100.0)]);
    let most = chat_plan(json!({"logit_bias": many_biases(300)})).unwrap();
    assert_eq!(most.logit_bias.len(), 300);
    for none in [json!({}), Value::Null] {
        let plan = chat_plan(json!({"logit_bias": none})).unwrap();
        assert!(plan.logit_bias.is_empty());
    }
}

#[test]
fn chat_refuses_what_it_cannot_do() {
    for (request, expected) in [
        (
            json!({"logit_bias": {"a": 2}}),
            "logit_bias needs token ids as keys, got \"a\"",
        ),
        (
            json!({"logit_bias": {"-1": 2}}),
            "logit_bias needs token ids as keys, got \"-1\"",
        ),
        (
            json!({"logit_bias": {"7": 100.5}}),
            "logit_bias must be from -100 to 100, got 100.5 for 7",
        ),
        (
            json!({"logit_bias": many_biases(301)}),
            "logit_bias may have at most 300 tokens, got 301",
        ),
        (
            json!({"response_format": {"type": "json_schema"}}),
            "response_format of type json_schema needs",
        ),
        (
            json!({"temperature": -0.5}),
            "temperature must be from 0 to 2, got -0.5",
        ),
        (
            json!({"temperature": 2.1}),
            "temperature must be from 0 to 2, got 2.1",
        ),
        (
            json!({"presence_penalty": 3}),
            "presence_penalty must be from -2 to 2, got 3",
        ),
        (json!({"top_logprobs": 2}), "top_logprobs needs logprobs"),
        (json!({"n": 0}), "n must be at least 1"),
        (json!({"n": 5}), "prompts * n must be at most 4, got 1 * 5"),
        (
            json!({"max_completion_tokens": 0}),
            "max_completion_tokens must be at least 1",
        ),
    ] {
        let error = chat_plan(request.clone()).unwrap_err();
        assert!(error.contains(expected), "{request}: {error}");
    }
}

#[test]
fn completion_refuses_what_it_cannot_do() {
    for (request, prompts, expected) in [
        (json!({"suffix": "x"}), 1, "suffix is not supported"),
        (json!({"max_tokens": 0}), 1, "0 needs echo = true"),
        (json!({"best_of": 3}), 1, "best_of = 3 must be at most 2"),
        (
            json!({"best_of": 1, "n": 2}),
            1,
            "best_of = 1 must be at least n, which is 2",
        ),
        (
            json!({"n": 2}),
            3,
            "prompts * n must be at most 4, got 3 * 2",
        ),
        (
            json!({"logprobs": 21}),
            1,
            "logprobs must be at most 20, got 21",
        ),
    ] {
        let error = completion_plan(request.clone(), prompts).unwrap_err();
        assert!(error.contains(expected), "{request}: {error}");
    }
}

#[test]
fn completion_draws_n_answers_or_more_to_choose_from() {
    for (request, prompts, answers) in [
        (json!({}), 4, 1),
        (json!({"n": 2}), 2, 2),
        (json!({"best_of": 2}), 2, 2),
        (json!({"best_of": 2, "n": 2, "stream": true}), 1, 2),
        (json!({"best_of": 4, "n": 4}), 1, 4),
    ] {
        let plan = completion_plan(request, prompts).unwrap();
        assert_eq!(plan.answers, answers);
    }
}

#[test]
fn completion_tells_of_the_prompt_when_both_are_asked_for() {
    let plan = |request: Value| completion_plan(request, 1).unwrap();
    assert!(plan(json!({"echo": true, "logprobs": 0})).prompt_logprobs);
    assert!(!plan(json!({"echo": true})).prompt_logprobs);
    assert!(!plan(json!({"logprobs": 0})).prompt_logprobs);
    let scored = plan(json!({"echo": true, "max_tokens": 0}));
    assert_eq!(scored.max_new_tokens, Some(1), "the engine draws one");
}
