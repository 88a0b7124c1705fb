use serde_json::{Value, json};

use super::*;

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
fn a_dialect_hears_of_its_own_fields() {
    let chat = |mut request: Value| {
        request["messages"] = json!([]);
        let request: ChatRequest = serde_json::from_value(request).expect("a request");
        chat(&request, &Limits::default()).expect("valid")
    };
    let completion = |mut request: Value| {
        request["prompt"] = json!("x");
        let request: CompletionRequest = serde_json::from_value(request).expect("a request");
        completion(&request, 1, &Limits::default()).expect("valid")
    };
    for (plan, prompt, length) in [
        (chat(json!({"max_tokens": 99})), "messages", "max_tokens"),
        (
            chat(json!({"max_completion_tokens": 99})),
            "messages",
            "max_completion_tokens",
        ),
        (
            completion(json!({"max_tokens": 99})),
            "prompt",
            "max_tokens",
        ),
    ] {
        let refusal = |tokens: usize| {
            let error = plan.fit(vec![1; tokens], (0, 0), ROOM).unwrap_err();
            let ApiError::Invalid {
                param,
                message,
                limit,
            } = error
            else {
                panic!("another error");
            };
            (param.expect("a field"), message, limit.expect("a limit"))
        };
        let (param, message, limit) = refusal(22);
        assert_eq!((param.as_ref(), limit), (length, LimitName::TotalTokens));
        let expected = format!("prompt tokens + {length} must be at most 120, got 22 + 99");
        assert!(message.contains(&expected), "{message}");
        let (param, message, limit) = refusal(101);
        assert_eq!((param.as_ref(), limit), (prompt, LimitName::InputTokens));
        assert!(!message.contains("truncate"), "{message}");
        assert!(plan.fit(vec![1; 21], (0, 0), ROOM).is_ok());
    }
}

#[test]
fn biased_tokens_are_of_the_vocabulary() {
    let plan = chat_plan(json!({"logit_bias": {"999": 1}})).expect("valid");
    assert_eq!(plan.check_biases(1000), Ok(()));
    let error = plan.check_biases(999).unwrap_err().to_string();
    assert!(error.contains("must be below 999, got 999"), "{error}");
}
