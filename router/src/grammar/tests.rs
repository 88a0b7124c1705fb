use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Grammar, Grammars};
use crate::api::tokenizer::tests::{byte_fallback_json, byte_level_json};
use crate::config::GrammarConfig;
use crate::error::ApiError;
use crate::pb::EngineInfo;

const FIELD: &str = "response_format";

fn info() -> EngineInfo {
    EngineInfo {
        vocab_size: 300,
        eos_token_ids: vec![257],
        ..EngineInfo::default()
    }
}

fn grammars(config: &GrammarConfig) -> Grammars {
    Grammars::new(&byte_level_json(), &info(), config)
}

/// Bounds that time does not decide about.
fn patient() -> GrammarConfig {
    GrammarConfig {
        max_grammar_compile_ms: 60_000,
        ..GrammarConfig::default()
    }
}

fn schema(schema: &Value) -> Grammar {
    Grammar::json_schema(FIELD, schema).expect("an object")
}

fn lark(grammar: &str) -> Grammar {
    Grammar::lark(FIELD, grammar).expect("no schema in it")
}

async fn refusal(grammars: &Grammars, grammar: &Grammar) -> String {
    match grammars.check(grammar).await {
        Err(ApiError::Invalid { param, message, .. }) => {
            assert_eq!(param.as_deref(), Some(FIELD));
            assert!(message.contains(FIELD), "{message}");
            message
        }
        other => panic!("{other:?} of {}", grammar.source()),
    }
}

#[tokio::test]
async fn every_kind_of_grammar_passes() {
    let grammars = grammars(&patient());
    let person = json!({"properties": {"name": {"type": "string"}}, "required": ["name"]});
    for grammar in [
        schema(&person),
        schema(&Value::String(person.to_string())),
        schema(&json!(true)),
        schema(&json!({})),
        schema(&json!({"type": "array", "items": {"type": "integer"}})),
        schema(&json!({"oneOf": [{"type": "integer"}, {"type": "string"}]})),
        schema(
            &json!({"$ref": "#/$defs/a", "$defs": {"a": {"properties": {"b": {"$ref": "#/$defs/a"}}}}}),
        ),
        Grammar::json_object(FIELD),
        Grammar::regex(FIELD, r"[a-z]+\d{1,3}"),
        Grammar::regex(FIELD, r"^(yes|no)$"),
        Grammar::regex(FIELD, r"costs \$"),
        lark("start: \"a\" b+\nb: /[0-9]/"),
    ] {
        let checked = grammars.check(&grammar).await;
        assert_eq!(checked, Ok(()), "{}", grammar.source());
    }
}

#[tokio::test]
async fn vocabularies_of_sentencepiece_suit_too() {
    let grammars = Grammars::new(&byte_fallback_json(), &info(), &patient());
    let words = Grammar::regex(FIELD, "the cat( the cat)*你?");
    assert_eq!(grammars.check(&words).await, Ok(()));
    assert_eq!(grammars.check(&Grammar::json_object(FIELD)).await, Ok(()));
}

#[tokio::test]
async fn what_is_no_grammar_is_refused_with_field_and_reason() {
    let grammars = grammars(&patient());
    for (grammar, reason) in [
        (schema(&json!({"type": "strnig"})), "strnig"),
        (
            schema(&json!({"$ref": "http://example.org/x.json"})),
            "example.org",
        ),
        (schema(&json!({"$ref": "#/nowhere"})), "nowhere"),
        (
            schema(&json!({"allOf": [{"type": "string"}, {"type": "null"}]})),
            "nsatisfiable",
        ),
        (schema(&json!({"not": {"type": "string"}})), "not"),
        (Grammar::regex(FIELD, "(a"), "parse"),
        (Grammar::regex(FIELD, r"(?=a)b"), "look"),
        (lark("start: nothing"), "nothing"),
        (lark("a: \"b\""), "start"),
        (lark(""), "start"),
    ] {
        let message = refusal(&grammars, &grammar).await;
        assert!(message.contains(reason), "{message}");
    }
    for schema in [
        json!({"multipleOf": 20_001}),
        json!(1),
        json!(false),
        json!([]),
        json!("{"),
        json!("[]"),
    ] {
        let error = Grammar::json_schema(FIELD, &schema).expect_err("no schema");
        assert!(error.to_string().contains(FIELD), "{error}");
    }
}

/// Texts that a careless parser would take minutes or gigabytes for.
fn bombs() -> Vec<Grammar> {
    let text = || json!({"type": "string"});
    let next = |i: usize, step: usize| json!({"$ref": format!("#/$defs/d{}", (i + step) % 600)});
    let defs = (0..600).map(|i| {
        let either = [next(i, 1), json!({"properties": {"x": next(i, 7)}})];
        (format!("d{i}"), json!({"anyOf": either}))
    });
    let defs: Map<_, _> = defs.collect();
    let either = (0..300).map(|i| {
        let one = |name| json!({"properties": {format!("{name}{i}"): text()}});
        json!({"anyOf": [one("a"), one("b")]})
    });
    let properties: Map<_, _> = (0..1500).map(|i| (format!("p{i}"), text())).collect();
    let deep = (0..55).fold(text(), |inner, _| json!({"properties": {"a": inner}}));
    let nested = |open: &str, inner: &str, close: &str| {
        format!("{}{inner}{}", open.repeat(20_000), close.repeat(20_000))
    };
    let chain = |first: &str, names: &str| {
        let rules = (0..4000).map(|i| format!("{names}{i}: {names}{}\n", i + 1));
        let text = format!(
            "start: {first}\n{}{names}4000: \"a\"",
            rules.collect::<String>()
        );
        lark(&text)
    };
    let links = (0..1600).map(|i| {
        let next = json!({"$ref": format!("#/$defs/{}", i + 1)});
        (i.to_string(), json!({"items": next}))
    });
    let links = links.chain([("1600".to_owned(), text())]);
    let links: Map<_, _> = links.collect();
    vec![
        chain("a0", "a"),
        chain("A0", "A"),
        schema(&json!({"$ref": "#/$defs/0", "$defs": links})),
        schema(&json!({"$ref": "#/$defs/d0", "$defs": defs})),
        schema(&json!({"allOf": either.collect::<Vec<_>>()})),
        schema(&json!({"properties": properties})),
        schema(&deep),
        schema(&json!({"type": "integer", "multipleOf": 19997})),
        Grammar::regex(FIELD, "((a{1,1000}){1,1000}){1,1000}"),
        Grammar::regex(FIELD, "(a|b)*a(a|b){30}"),
        Grammar::regex(FIELD, &nested("(", "a", ")")),
        Grammar::regex(FIELD, &r"(\w|\d|[^x]){0,50}".repeat(500)),
        lark(&format!("start: {}", nested("(", "\"a\"", ")"))),
        lark("start: a{1,100000}\na: b{1,100000}\nb: \"x\""),
        lark("start: s\ns: s s | s s s | \"a\" |"),
    ]
}

/// Nothing bounds the work of one step of a lexer but the grammar: these took 20 s and gigabytes.
#[tokio::test]
async fn expressions_with_many_branches_are_refused_before_any_step() {
    let grammars = grammars(&patient());
    for bomb in ["a?".repeat(30_000), r"\w*\d*".repeat(5000)] {
        let message = refusal(&grammars, &Grammar::regex(FIELD, &bomb)).await;
        assert!(message.contains("branch"), "{message}");
    }
    let usual = Grammar::regex(FIELD, r"(\+\d{1,3} ?)?(\(\d{3}\)|\d{3})[ -]?\d{3}-?\d{4}");
    assert_eq!(grammars.check(&usual).await, Ok(()));
}

#[tokio::test]
async fn a_bomb_is_followed_or_refused_and_harms_nothing() {
    let grammars = grammars(&GrammarConfig::default());
    for bomb in bombs() {
        match grammars.check(&bomb).await {
            Ok(()) | Err(ApiError::Invalid { .. }) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    // No worker is lost: the permits of those over their time come back.
    let all = grammars.workers.acquire_many(super::check::WORKERS as u32);
    assert!(
        tokio::time::timeout(Duration::from_secs(50), all)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn each_limit_holds_from_both_sides() {
    let wide = patient();
    let grammar = lark("start: \"aaaa\"");
    let sized = |max_grammar_bytes| GrammarConfig {
        max_grammar_bytes,
        ..wide.clone()
    };
    assert_eq!(grammars(&sized(13)).check(&grammar).await, Ok(()));
    let message = refusal(&grammars(&sized(12)), &grammar).await;
    assert!(message.contains("at most 12 bytes, got 13"), "{message}");

    let many = schema(&json!({"properties": {"a": {"type": "array"}, "b": {"type": "object"}}}));
    for (narrow, reason) in [
        (
            GrammarConfig {
                max_grammar_size: 10,
                ..wide.clone()
            },
            "size",
        ),
        (
            GrammarConfig {
                max_grammar_fuel: 10,
                ..wide.clone()
            },
            "too big",
        ),
        (
            GrammarConfig {
                max_grammar_lexer_states: 3,
                ..wide.clone()
            },
            "states",
        ),
        (
            GrammarConfig {
                max_grammar_step_items: 3,
                ..wide.clone()
            },
            "Too many items (limit 3",
        ),
    ] {
        let message = refusal(&grammars(&narrow), &many).await;
        assert!(message.contains(reason), "{message}");
    }
    assert_eq!(grammars(&wide).check(&many).await, Ok(()));
}

#[tokio::test]
async fn what_takes_too_long_is_refused_and_its_worker_comes_back() {
    let config = GrammarConfig {
        max_grammar_compile_ms: 1,
        ..GrammarConfig::default()
    };
    let grammars = grammars(&config);
    let slow = schema(&json!({"type": "integer", "multipleOf": 19997}));
    let message = refusal(&grammars, &slow).await;
    assert!(message.contains("longer than 1 ms"), "{message}");
    let all = grammars.workers.acquire_many(super::check::WORKERS as u32);
    assert!(
        tokio::time::timeout(Duration::from_secs(50), all)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn verdicts_are_remembered_within_bounds() {
    let grammars = grammars(&GrammarConfig {
        grammar_cache_bytes: 20_000,
        ..patient()
    });
    let numbered = |i: usize| lark(&format!("start: \"{i}\""));
    for _ in 0..2 {
        assert_eq!(grammars.check(&numbered(0)).await, Ok(()));
        refusal(&grammars, &lark("start: nothing")).await;
    }
    assert_eq!(grammars.verdicts.len(), 2);
    for i in 0..200 {
        assert_eq!(grammars.check(&numbered(i)).await, Ok(()));
    }
    assert!(grammars.verdicts.len() > 2);
    assert!(grammars.verdicts.weight() <= 20_000);
}

#[tokio::test]
async fn without_support_every_grammar_is_refused() {
    let disabled = GrammarConfig {
        grammar_support: false,
        ..patient()
    };
    let no_end = EngineInfo {
        eos_token_ids: vec![],
        ..info()
    };
    let word_level = br#"{"decoder": {"type": "WordPiece"}, "added_tokens": []}"#;
    for (grammars, reason) in [
        (grammars(&disabled), "--disable-grammar-support"),
        (
            Grammars::new(&byte_level_json(), &no_end, &patient()),
            "no end-of-text token",
        ),
        (Grammars::new(word_level, &info(), &patient()), "decoder"),
        (Grammars::new(b"", &info(), &patient()), "cannot follow"),
    ] {
        let message = refusal(&grammars, &Grammar::json_object(FIELD)).await;
        assert!(message.contains(reason), "{message}");
    }
}

#[test]
fn multiples_are_bounded_together_from_both_sides() {
    for (values, passes) in [
        (vec![json!(20_000)], true),
        (vec![json!(20_001)], false),
        (vec![json!(0.01), json!(5), json!(12), json!(2500)], true),
        (vec![json!(199), json!(101)], false),
        (vec![json!(1.0001)], true),
        (vec![json!(2.0001)], false),
        (vec![json!(4_294_967_291_u64)], false),
        (vec![json!(1e300)], false),
        (vec![json!(0)], true),
        (vec![json!("20001")], true),
    ] {
        let parts: Vec<_> = values
            .iter()
            .map(|value| json!({"multipleOf": value}))
            .collect();
        let schema = json!({"properties": {"a": {"allOf": parts}}});
        assert_eq!(
            Grammar::json_schema(FIELD, &schema).is_ok(),
            passes,
            "{schema}"
        );
    }
    Grammar::lark(FIELD, r#"start: %json {"multiple\u004ff": 99999}"#).expect_err("a schema in it");
}
