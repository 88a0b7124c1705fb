use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use super::super::fixture::byte_level_json;
use super::*;

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

fn byte_level() -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false})
}

fn split(pattern: &str, behavior: &str) -> Value {
    json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": false})
}

fn sequence(steps: &[Value]) -> Value {
    json!({"type": "Sequence", "pretokenizers": steps})
}

/// Splitters of published models.
fn known_splitters() -> Vec<Value> {
    let with_regex = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false,
                            "use_regex": true});
    let digits = json!({"type": "Digits", "individual_digits": true});
    vec![
        with_regex.clone(),
        sequence(&[split(LLAMA3, "Isolated"), byte_level()]),
        sequence(&[digits, with_regex]),
        sequence(&[
            split(r"\p{N}", "Isolated"),
            split(GPT2, "Isolated"),
            byte_level(),
            split("À|Á", "Removed"),
        ]),
    ]
}

/// Splitters that merge across blanks: only special tokens cut their texts.
fn other_splitters() -> Vec<Value> {
    vec![
        byte_level(),
        sequence(&[split("ab", "Isolated"), byte_level()]),
        sequence(&[split(" ", "MergedWithPrevious"), byte_level()]),
    ]
}

/// A tokenizer with merges inside words, between blanks, and across them where the splitter lets
/// it, with added tokens of all kinds.
fn tokenizer(splitter: &Value, rstrip: bool) -> Tokenizer {
    let mut json: Value = serde_json::from_slice(&byte_level_json()).unwrap();
    let merges = [
        ("a", "b"),
        ("Ġ", "a"),
        ("Ġ", "ab"),
        ("ab", "a"),
        ("Ġ", "Ġ"),
        ("1", "1"),
        ("bĠ", "a"),
        ("b", "Ġ"),
        ("Ċ", "Ċ"),
        ("'", "s"),
        ("b", "b"),
        ("ab", "Ġab"),
        ("11", "1"),
    ];
    let vocab = json["model"]["vocab"].as_object_mut().unwrap();
    for (id, (left, right)) in (300..).zip(merges) {
        vocab.entry(format!("{left}{right}")).or_insert(id.into());
    }
    json["model"]["merges"] = json!(merges.map(|(left, right)| format!("{left} {right}")));
    json["pre_tokenizer"] = splitter.clone();
    json["normalizer"] = json!({"type": "NFC"});
    let added = json["added_tokens"].as_array_mut().unwrap();
    for (id, content) in (400..).zip(["</s>b", "<pad>"]) {
        added.push(
            json!({"id": id, "content": content, "single_word": false, "lstrip": false,
                          "rstrip": rstrip, "normalized": false, "special": true}),
        );
    }
    json["truncation"] = Value::Null;
    Tokenizer::from_bytes(json.to_string()).unwrap()
}

const PIECES: [&str; 22] = [
    "a", "b", "ab", " ab", " a", " b", " ", "  ", "\n", "\n\n", "1", "11", "é", "e\u{301}",
    "\u{301}", "</s>", "<s>", "<pad>", "</s>b", "<s", "'s", "!",
];

fn texts() -> impl Strategy<Value = Vec<(Index, Vec<&'static str>)>> {
    vec((any::<Index>(), vec(select(&PIECES[..]), 4..40)), 2..8)
}

/// Each text keeps the beginning of the one before, up to any character.
fn grow(steps: &[(Index, Vec<&str>)]) -> Vec<String> {
    let mut texts: Vec<String> = vec![];
    for (keep, pieces) in steps {
        let before = texts.last().map_or("", String::as_str);
        let ends: Vec<_> = before.char_indices().map(|(at, _)| at).collect();
        let kept = ends.get(keep.index(ends.len() + 1)).copied();
        texts.push(before[..kept.unwrap_or(before.len())].to_owned() + &pieces.concat());
    }
    texts
}

fn agrees(tokenizer: &Tokenizer, texts: &[String]) -> std::result::Result<(), TestCaseError> {
    let recent = Recent::new(tokenizer);
    for text in texts {
        let whole = tokenizer.encode_fast(text.as_str(), false).unwrap();
        let pieced = recent.encode(tokenizer, text.clone()).unwrap();
        prop_assert_eq!(pieced.ids.as_slice(), whole.get_ids());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_text_has_the_tokens_it_has_alone(
        steps in texts(),
        splitter in select([known_splitters(), other_splitters()].concat()),
        rstrip in any::<bool>(),
    ) {
        agrees(&tokenizer(&splitter, rstrip), &grow(&steps))?;
    }
}

#[test]
fn words_cut_the_texts_of_known_splitters_only() {
    for splitter in known_splitters() {
        assert!(
            Recent::new(&tokenizer(&splitter, false)).rules.words,
            "{splitter}"
        );
        assert!(
            !Recent::new(&tokenizer(&splitter, true)).rules.words,
            "{splitter}"
        );
    }
    for splitter in other_splitters() {
        assert!(
            !Recent::new(&tokenizer(&splitter, false)).rules.words,
            "{splitter}"
        );
    }
}

#[test]
fn a_special_token_that_another_goes_on_from_cuts_nothing() {
    let rules = Recent::new(&tokenizer(&byte_level(), false)).rules;
    assert!(rules.special.contains(&256), "<s>");
    assert!(!rules.special.contains(&257), "</s> begins </s>b");
}

#[test]
fn only_what_is_new_is_encoded() {
    let tokenizer = tokenizer(&known_splitters()[0], false);
    let recent = Recent::new(&tokenizer);
    let first = "ab ab a".repeat(1000);
    recent.encode(&tokenizer, first.clone()).unwrap();
    let second = first.clone() + " b and more";
    let (earlier, common) = recent.nearest(&second).unwrap();
    assert_eq!(common, first.len());
    let (start, ids, _) = earlier.beginning(common);
    assert!(start > first.len() - 16 && ids.len() > start / 4, "{start}");
    let encoded = recent.encode(&tokenizer, second.clone()).unwrap();
    assert_eq!(encoded.encoded_bytes, second.len() - start);
    let kept = Arc::clone(&recent.texts()[0]);
    assert!(Arc::ptr_eq(&kept.ids, &encoded.ids), "the ids are copied");
    assert_eq!(
        recent.texts.lock().unwrap().len(),
        1,
        "the first text is part of the second"
    );
}

#[test]
fn the_oldest_texts_leave_when_there_are_many() {
    let tokenizer = tokenizer(&byte_level(), false);
    let recent = Recent::new(&tokenizer);
    for number in 0..MOST_TEXTS + 3 {
        let text = format!("{number}{}", "<s>".repeat(700));
        recent.encode(&tokenizer, text).unwrap();
    }
    let texts = recent.texts.lock().unwrap();
    assert_eq!(texts.len(), MOST_TEXTS);
    assert!(texts.back().unwrap().text.starts_with("3<s>"));
}

#[test]
fn the_oldest_texts_leave_when_they_are_large() {
    let recent = Recent::new(&tokenizer(&byte_level(), false));
    for _ in 0..3 {
        let text = "a".repeat(CAPACITY / 2);
        recent.keep(
            Encoded {
                text,
                ids: Arc::default(),
                cuts: vec![],
            },
            None,
        );
    }
    assert_eq!(recent.texts.lock().unwrap().len(), 2);
}
