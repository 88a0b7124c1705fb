//! What a tokenizer does to a text before its model sees words.

use serde_json::Value;
use tokenizers::Tokenizer;

/// Patterns that end a word where a blank and a letter follow it, whatever else is around: those of
/// GPT-2, of GPT-4 (Llama 3, Qwen) and of GPT-4o; without the number of digits they take together.
const WORD_PATTERNS: [&str; 3] = [
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
];

/// Another way to write GPT-4's first choice.
const CONTRACTIONS: [&str; 2] = [
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
];

/// Patterns that take digits apart, and nothing else.
const DIGIT_PATTERNS: [&str; 2] = [r"\p{N}", r"\p{N}{1,3}"];

/// Whether each word between blanks is encoded apart: a text cut between a letter and a blank with a
/// letter after it has the tokens of both sides. Only for steps that are known to do so.
pub(super) fn splits_words(tokenizer: &Tokenizer) -> bool {
    let (Ok(normalizer), Ok(splitter)) = (
        serde_json::to_value(tokenizer.get_normalizer()),
        serde_json::to_value(tokenizer.get_pre_tokenizer()),
    ) else {
        return false;
    };
    let keeps_words = steps(&normalizer, "normalizers").all(|step| step["type"] == "NFC");
    let splitters: Vec<_> = steps(&splitter, "pretokenizers").map(Step::of).collect();
    keeps_words && !splitters.contains(&Step::Unknown) && splitters.contains(&Step::Words)
}

/// What one step of a pre-tokenizer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Takes words apart.
    Words,
    /// Leaves blanks and letters as they are.
    Within,
    /// May look at more than a word.
    Unknown,
}

impl Step {
    fn of(step: &Value) -> Self {
        let is = |key: &str, value: bool| step[key] == value;
        let pattern = step["pattern"]["Regex"].as_str().unwrap_or_default();
        match step["type"].as_str() {
            Some("ByteLevel") if !is("add_prefix_space", false) => Self::Unknown,
            Some("ByteLevel") if is("use_regex", false) => Self::Within,
            Some("ByteLevel") => Self::Words,
            Some("Digits") => Self::Within,
            Some("Split") if is("invert", true) => Self::Unknown,
            Some("Split") if step["behavior"] == "Isolated" && is_of_words(pattern) => Self::Words,
            Some("Split") if DIGIT_PATTERNS.contains(&pattern) => Self::Within,
            Some("Split") if is_characters(pattern) => Self::Within,
            _ => Self::Unknown,
        }
    }
}

fn is_of_words(pattern: &str) -> bool {
    let mut plain = pattern.replace(CONTRACTIONS[0], CONTRACTIONS[1]);
    for digits in ["{1,3}", "{1,2}"] {
        plain = plain.replace(&format!(r"\p{{N}}{digits}"), r"\p{N}");
    }
    WORD_PATTERNS.contains(&plain.as_str())
}

/// Whether a pattern is a choice of single characters, none of them a blank or an ASCII letter.
fn is_characters(pattern: &str) -> bool {
    pattern.split('|').all(|choice| {
        let mut characters = choice.chars();
        characters.next().is_some_and(|first| !first.is_ascii()) && characters.next().is_none()
    })
}

/// A pipeline's steps in order; one step stands for itself.
fn steps<'a>(pipeline: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    let steps = match &pipeline[list] {
        Value::Array(steps) => steps.as_slice(),
        _ if pipeline.is_null() => &[],
        _ => std::slice::from_ref(pipeline),
    };
    steps.iter()
}
