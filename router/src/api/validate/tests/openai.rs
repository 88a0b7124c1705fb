use serde_json::{Value, json};

use super::*;

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
        (json!({"n": 9}), "n must be at most 8, got 9"),
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
        (json!({"best_of": 3}), 1, "best_of must be at most 2, got 3"),
        (
            json!({"best_of": 1, "n": 2}),
            1,
            "best_of = 1 must be at least n, which is 2",
        ),
        (json!({"n": 9}), 1, "n must be at most 8, got 9"),
        (json!({}), 5, "prompt must have at most 4 prompts, got 5"),
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
        (json!({"best_of": 8, "n": 8}), 4, 8),
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

#[test]
fn each_limit_is_named_by_the_refusal_beyond_it() {
    let of_chat = |mut request: Value, limits: &Limits| {
        request["messages"] = json!([]);
        let request: ChatRequest = serde_json::from_value(request).expect("a request");
        chat(&request, limits)
            .map(|_| ())
            .map_err(|error| error.limit())
    };
    let limits = Limits {
        max_n: 2,
        max_logit_bias: 1,
        max_top_n_tokens: 3,
        max_stop_sequences: 1,
        max_stop_bytes: 4,
        ..Limits::default()
    };
    for (taken, refused, limit) in [
        (json!({"n": 2}), json!({"n": 3}), LimitName::Choices),
        (
            json!({"logit_bias": {"1": 0}}),
            json!({"logit_bias": {"1": 0, "2": 0}}),
            LimitName::LogitBiases,
        ),
        (
            json!({"logprobs": true, "top_logprobs": 3}),
            json!({"logprobs": true, "top_logprobs": 4}),
            LimitName::TopTokens,
        ),
        (
            json!({"stop": ["a"]}),
            json!({"stop": ["a", "b"]}),
            LimitName::StopSequences,
        ),
        (
            json!({"stop": "abcd"}),
            json!({"stop": "abcde"}),
            LimitName::StopBytes,
        ),
    ] {
        assert_eq!(of_chat(taken, &limits), Ok(()), "{limit:?}");
        assert_eq!(of_chat(refused, &limits), Err(Some(limit)));
    }
    assert_eq!(of_chat(json!({"temperature": 3}), &limits), Err(None));
}

#[test]
fn completions_are_bounded_in_prompts_and_choices() {
    let limits = Limits {
        max_client_batch_size: 2,
        max_best_of: 3,
        ..Limits::default()
    };
    let of = |request: Value, prompts| {
        let request: CompletionRequest = serde_json::from_value(request).expect("a request");
        completion(&request, prompts, &limits)
            .map(|plan| plan.answers)
            .map_err(|error| error.limit())
    };
    let request = json!({"prompt": "x", "best_of": 3});
    assert_eq!(of(request.clone(), 2), Ok(3));
    assert_eq!(of(request, 3), Err(Some(LimitName::Prompts)));
    let request = json!({"prompt": "x", "best_of": 4});
    assert_eq!(of(request, 1), Err(Some(LimitName::BestOf)));
}
