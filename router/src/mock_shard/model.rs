//! The mock's model: every byte is a token.

use serde_json::{Map, json};

use crate::{PROTOCOL_VERSION, pb};

/// Id of the token that ends an answer.
const EOS: u32 = 256;

/// Facts about the built-in model.
#[must_use]
pub fn info() -> pb::EngineInfo {
    pb::EngineInfo {
        protocol_version: PROTOCOL_VERSION,
        version: env!("CARGO_PKG_VERSION").into(),
        model_id: "mock/bytes".into(),
        model_revision: String::new(),
        fingerprint: "mock".into(),
        executor: "mock".into(),
        device: "cpu".into(),
        hardware: "none".into(),
        weights: "int".into(),
        kv_dtype: "int".into(),
        vocab_size: EOS + 1,
        max_input_tokens: 262_143,
        max_total_tokens: 262_144,
        page_tokens: 32,
        num_pages: 16_384,
        page_bytes: 1024,
        max_batch_size: 512,
        max_step_tokens: 2048,
        eos_token_ids: vec![EOS],
        bos_token: String::new(),
        eos_token: "</s>".into(),
        assets: vec!["tokenizer.json".into()],
    }
}

/// A byte-level `tokenizer.json` without merges: ids 0 to 255 are the bytes, 256 ends a text.
#[must_use]
pub fn tokenizer_json() -> Vec<u8> {
    let vocab: Map<_, _> = (0..=255)
        .map(|byte| (byte_char(byte).to_string(), byte.into()))
        .collect();
    let byte_level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false,
    });
    let end = json!({
        "id": EOS, "content": "</s>", "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true,
    });
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": [end], "pre_tokenizer": byte_level, "post_processor": null,
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    });
    tokenizer.to_string().into_bytes()
}

/// The character that byte-level vocabularies write for a byte.
fn byte_char(byte: u8) -> char {
    let printable = |b: &u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if printable(&byte) {
        return char::from(byte);
    }
    let rank = (0..byte).filter(|b| !printable(b)).count();
    let code = u32::try_from(256 + rank).expect("a byte's rank is small");
    char::from_u32(code).expect("a letter of Latin Extended-A")
}
