//! Tokenizers for tests, small enough to know by heart. Also compiled into the integration tests.

use serde_json::{Value, json};

/// Ids of the special tokens.
pub(crate) const BOS: u32 = 256;
pub(crate) const EOS: u32 = 257;

/// The character that byte-level vocabularies write for a byte.
fn byte_char(byte: u8) -> char {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if printable(byte) {
        return char::from(byte);
    }
    let rank = (0..byte).filter(|&b| !printable(b)).count() as u32;
    char::from_u32(256 + rank).expect("a letter of Latin Extended-A")
}

/// A tokenizer without merges whose special tokens are "<s>", put before a text, and "</s>".
pub(crate) fn tokenizer_json(
    vocab: Value,
    byte_fallback: bool,
    decoder: Value,
    pre: Value,
) -> Vec<u8> {
    let special = |id: u32, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false,
               "rstrip": false, "normalized": false, "special": true})
    };
    let json = json!({
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
        "padding": null,
        "added_tokens": [special(BOS, "<s>"), special(EOS, "</s>")],
        "normalizer": null,
        "pre_tokenizer": pre,
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                       {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [BOS], "tokens": ["<s>"]}}},
        "decoder": decoder,
        "model": {"type": "BPE", "vocab": vocab, "merges": [], "byte_fallback": byte_fallback},
    });
    json.to_string().into_bytes()
}

/// Ids 0 to 255 are the bytes; from 258 on come tokens that end inside characters.
pub(crate) fn byte_level_json() -> Vec<u8> {
    let mut vocab = serde_json::Map::new();
    for byte in 0..=255 {
        vocab.insert(byte_char(byte).to_string(), byte.into());
    }
    vocab.insert("<s>".into(), BOS.into());
    vocab.insert("</s>".into(), EOS.into());
    let pieces: [&[u8]; 5] = [
        b"hello",
        b" x\xE4",
        b"\xBD\xA0\xE5",
        b"\xA5\xBD\xE4",
        b"\xF0\x9F",
    ];
    for (id, piece) in (258..).zip(pieces) {
        vocab.insert(
            piece.iter().map(|&byte| byte_char(byte)).collect(),
            id.into(),
        );
    }
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false,
                            "use_regex": false});
    tokenizer_json(vocab.into(), false, byte_level.clone(), byte_level)
}
