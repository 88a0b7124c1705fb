use proptest::prelude::*;

use super::*;
use crate::api::tokenizer::tests::{BOS, EOS, byte_fallback, byte_level};

fn deltas(tokenizer: &Arc<Tokenizer>, ids: &[u32]) -> Vec<String> {
    let mut detokenizer = Detokenizer::new(Arc::clone(tokenizer));
    let mut deltas: Vec<String> = ids.iter().map(|&id| detokenizer.push(id)).collect();
    deltas.push(detokenizer.finish());
    deltas
}

fn bytes(text: &str) -> Vec<u32> {
    text.bytes().map(u32::from).collect()
}

#[test]
fn gives_a_character_with_its_last_byte() {
    let ids = bytes("a€b");
    assert_eq!(deltas(&byte_level(), &ids), ["a", "", "", "€", "b", ""]);
    assert_eq!(deltas(&byte_fallback(), &ids), ["a", "", "", "€", "b", ""]);
}

#[test]
fn gives_what_is_whole_of_a_token_that_ends_inside_a_character() {
    // " x" + 你 + 好 over three tokens, each but the last ending inside a character.
    assert_eq!(
        deltas(&byte_level(), &[259, 260, 0xA5, 0xBD]),
        [" x", "你", "", "好", ""]
    );
}

#[test]
fn keeps_the_blank_between_words_and_drops_the_first() {
    assert_eq!(
        deltas(&byte_fallback(), &[259, 260, 261, 263]),
        ["the", " cat", "s", " é", ""]
    );
}

#[test]
fn special_tokens_have_no_text_and_split_nothing() {
    assert_eq!(
        deltas(&byte_level(), &[BOS, 0xC3, EOS, 0xA9, EOS]),
        ["", "", "", "é", "", ""]
    );
}

#[test]
fn an_unfinished_character_comes_out_at_the_end() {
    assert_eq!(
        deltas(&byte_level(), &[97, 0xE2, 0x82]),
        ["a", "", "", "\u{FFFD}"]
    );
}

#[test]
fn a_replacement_character_that_the_model_wrote_is_text() {
    assert_eq!(
        deltas(&byte_level(), &bytes("\u{FFFD}a")).concat(),
        "\u{FFFD}a"
    );
}

#[test]
fn previews_a_token_without_taking_it() {
    let mut detokenizer = Detokenizer::new(byte_fallback());
    detokenizer.push(259);
    assert_eq!(detokenizer.preview(260), " cat");
    assert_eq!(detokenizer.preview(EOS), "</s>");
    assert_eq!(detokenizer.push(261), "s");
}

#[test]
fn a_long_answer_of_garbage_keeps_the_window_small() {
    let mut detokenizer = Detokenizer::new(byte_level());
    for _ in 0..1000 {
        detokenizer.push(0xE2);
        assert!(detokenizer.window.len() <= MAX_WINDOW + 1);
    }
}

fn byte_level_ids() -> impl Strategy<Value = Vec<u32>> {
    // Mostly tokens that make and break characters.
    let id = prop_oneof![
        0..263u32,
        256..263u32,
        prop::sample::select(vec![0xE2, 0x82, 0xAC, 0xF0])
    ];
    proptest::collection::vec(id, 0..120)
}

/// Any character but the one that decoders write for broken bytes.
fn letter() -> impl Strategy<Value = char> {
    any::<char>().prop_filter("looks like broken bytes", |&c| c != REPLACEMENT)
}

proptest! {
    #[test]
    fn deltas_add_up_to_the_decoded_whole(ids in byte_level_ids()) {
        let tokenizer = byte_level();
        prop_assert_eq!(deltas(&tokenizer, &ids).concat(), tokenizer.decode(&ids));
    }

    #[test]
    fn deltas_of_byte_fallback_text_add_up(
        parts in proptest::collection::vec(
            prop_oneof![letter().prop_map(Err), (258..264u32).prop_map(Ok)], 0..60),
    ) {
        let tokenizer = byte_fallback();
        let ids: Vec<u32> = parts.into_iter().flat_map(|part| match part {
            Ok(id) => vec![id],
            Err(char) => bytes(&char.to_string()),
        }).collect();
        prop_assert_eq!(deltas(&tokenizer, &ids).concat(), tokenizer.decode(&ids));
    }

    #[test]
    fn any_byte_fallback_tokens_are_taken(ids in proptest::collection::vec(0..264u32, 0..120)) {
        // What is out cannot be taken back, so broken byte runs differ from the decoded whole.
        let tokenizer = byte_fallback();
        prop_assert_eq!(deltas(&tokenizer, &ids).len(), ids.len() + 1);
    }
}
