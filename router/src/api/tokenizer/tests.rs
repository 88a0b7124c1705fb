use serde_json::{Value, json};

use super::fixture::tokenizer_json;
use super::*;

pub(crate) use super::fixture::{BOS, EOS, byte_level_json};

/// See [`byte_level_json`].
pub(crate) fn byte_level() -> Arc<Tokenizer> {
    Arc::new(Tokenizer::from_bytes(&byte_level_json(), 2).unwrap())
}

/// See [`byte_fallback_json`].
pub(crate) fn byte_fallback() -> Arc<Tokenizer> {
    Arc::new(Tokenizer::from_bytes(&byte_fallback_json(), 2).unwrap())
}

/// SentencePiece style: ids 0 to 255 are `<0x..>`, from 258 on come words with a leading blank.
pub(crate) fn byte_fallback_json() -> Vec<u8> {
    let mut vocab = serde_json::Map::new();
    for byte in 0..=255u32 {
        vocab.insert(format!("<0x{byte:02X}>"), byte.into());
    }
    vocab.insert("<s>".into(), BOS.into());
    vocab.insert("</s>".into(), EOS.into());
    for (id, piece) in (258..).zip(["▁", "▁the", "▁cat", "s", "你", "▁é"]) {
        vocab.insert(piece.into(), id.into());
    }
    let decoder = json!({"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"}, {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0}]});
    tokenizer_json(vocab.into(), true, decoder, Value::Null)
}

#[tokio::test]
async fn encodes_with_and_without_special_tokens_and_never_truncates() {
    let tokenizer = byte_level();
    let text = "abcdefgh".to_owned();
    let ids: Vec<u32> = text.bytes().map(u32::from).collect();
    assert_eq!(
        tokenizer
            .encode(text.clone(), Specials::Omit)
            .await
            .unwrap()
            .as_slice(),
        ids
    );
    let with_bos = [vec![BOS], ids].concat();
    assert_eq!(
        tokenizer
            .encode(text, Specials::Add)
            .await
            .unwrap()
            .as_slice(),
        with_bos
    );
}

#[tokio::test]
async fn reads_special_tokens_written_in_the_text() {
    let ids = byte_level()
        .encode("a</s>".into(), Specials::Omit)
        .await
        .unwrap();
    assert_eq!(ids.as_slice(), [u32::from(b'a'), EOS]);
}

#[tokio::test]
async fn spans_are_the_bytes_of_the_text() {
    let spans = byte_level()
        .encode_spans("<s>ab".into(), Specials::Omit)
        .await
        .unwrap();
    let bytes: Vec<_> = spans
        .iter()
        .map(|span| (span.id, span.bytes.clone()))
        .collect();
    assert_eq!(bytes, [(BOS, 0..3), (97, 3..4), (98, 4..5)]);
}

#[test]
fn decodes_without_special_tokens() {
    let tokenizer = byte_level();
    assert_eq!(tokenizer.decode(&[BOS, 258, 99_999, EOS]), "hello");
    assert!(tokenizer.is_special(EOS) && !tokenizer.is_special(258));
    assert_eq!(tokenizer.piece(EOS).as_deref(), Some("</s>"));
    assert_eq!(tokenizer.piece(99_999), None);
}

#[test]
fn a_file_that_is_no_tokenizer_is_refused() {
    assert!(matches!(
        Tokenizer::from_bytes(b"{}", 1),
        Err(TokenizeError::BadFile(_))
    ));
}

#[tokio::test(start_paused = true)]
async fn a_text_is_refused_when_no_worker_gets_free_unless_it_is_short() {
    let tokenizer = byte_level();
    let _all = tokenizer.workers.acquire_many(2).await.unwrap();
    let refused = tokenizer
        .encode("a".repeat(SHORT_BYTES + 1), Specials::Omit)
        .await;
    assert!(
        matches!(refused, Err(TokenizeError::Busy { .. })),
        "{refused:?}"
    );
    let short = tokenizer.encode("a".repeat(SHORT_BYTES), Specials::Omit);
    assert_eq!(short.await.unwrap().len(), SHORT_BYTES);
}

#[tokio::test]
async fn the_rate_counts_only_what_was_encoded() {
    let tokenizer = byte_level();
    // Special tokens cut the text.
    let first = "ab<s>".repeat(1000);
    tokenizer
        .encode(first.clone(), Specials::Omit)
        .await
        .unwrap();
    let before = tokenizer.rate.time_for(1000);
    assert!(before.is_some());
    tokenizer
        .encode(first + "more", Specials::Omit)
        .await
        .unwrap();
    assert_eq!(tokenizer.rate.time_for(1000), before);
}

#[test]
fn a_long_text_may_take_longer() {
    let seconds = |bytes| encode_limit(bytes).as_secs();
    assert_eq!(seconds(0), 2);
    assert_eq!(seconds(STRETCH_BYTES - 1), 2);
    assert_eq!(seconds(STRETCH_BYTES), 4);
    assert_eq!(seconds(16 * STRETCH_BYTES), 34);
}
