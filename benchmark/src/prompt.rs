//! Deterministic prompts of an exact number of tokens.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::client::Client;

/// Short common words; those that the served tokenizer knows as one token each are used.
const WORDS: &str = "about after again air all along also always and animal another answer any are \
    around ask away back because been before began being below between book both boy but came can \
    car change children city close come could country cut day did different does dog door down \
    each earth eat end enough even every example eye face family far father feel few find fire \
    first follow food for form found four from gave get girl give good got great group grow had \
    hand hard has have head hear help her here high him his home house how idea just keep kind \
    know land large last late learn leave left less let letter life light like line list little \
    live long look made make man many mean might mile more most mother move much must name near \
    need never new next night not now number off often old once only open other our out over own \
    page paper part people place plant play point put question quick read really right river run \
    said same saw say school sea second see seem sentence set she should show side small some \
    song soon sound spell start state still stop story study such take talk tell ten than that \
    their them then there these they thing think this those thought three through time together \
    too took tree try turn two under until use very walk want was watch water way well went were \
    what when where which while white who why will with without word work world would write year";

/// Makes prompts of words that are one token each, whatever stands before them.
#[derive(Debug, Clone)]
pub struct Prompts {
    words: Vec<&'static str>,
    drawn: u64,
}

impl Prompts {
    /// Asks the server which words are one token.
    ///
    /// # Errors
    /// When it does not answer, or knows too few of the words.
    pub async fn new(client: &Client) -> Result<Self> {
        let all: Vec<_> = WORDS.split_whitespace().collect();
        let text = format!(" {}", all.join(" "));
        let tokens = client.post("/tokenize", &json!({ "inputs": text })).await?;
        let texts: Vec<_> = tokens
            .json()?
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|token| Some(token.get("text")?.as_str()?.trim().to_owned()))
            .collect();
        let words: Vec<_> = all
            .into_iter()
            .filter(|word| texts.iter().any(|text| text == word))
            .collect();
        ensure!(
            words.len() >= 64,
            "the tokenizer has {} of the words as one token each, 64 are needed",
            words.len()
        );
        Ok(Self { words, drawn: 0 })
    }

    /// The next text of `tokens` tokens; it begins unlike all others before it.
    pub fn next(&mut self, tokens: usize) -> String {
        self.drawn += 1;
        self.text(self.drawn, tokens)
    }

    /// The text of `tokens` tokens that belongs to a key: always the same one, and begun unlike
    /// those of other keys.
    #[must_use]
    pub fn text(&self, key: u64, tokens: usize) -> String {
        let mut state = key;
        let mut text = String::with_capacity(tokens * 6);
        for _ in 0..tokens {
            let word = split_mix(&mut state) % self.words.len() as u64;
            text.push(' ');
            text.push_str(self.words[word as usize]);
        }
        text
    }
}

/// One key from several numbers, their order included.
#[must_use]
pub fn key(parts: &[u64]) -> u64 {
    parts.iter().fold(0, |key, part| {
        let mut state = key ^ part;
        split_mix(&mut state)
    })
}

/// SplitMix64 (Steele, Lea, Flood 2014).
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tell_their_parts_and_their_order_apart() {
        let keys = [key(&[1, 2]), key(&[2, 1]), key(&[1, 3]), key(&[1])];
        for (index, one) in keys.iter().enumerate() {
            assert!(!keys[index + 1..].contains(one));
        }
        assert_eq!(keys[0], key(&[1, 2]));
    }

    #[test]
    fn texts_have_the_asked_length_and_begin_unlike_each_other() {
        let words = WORDS.split_whitespace().collect();
        let mut prompts = Prompts { words, drawn: 0 };
        let texts: Vec<_> = (0..100).map(|_| prompts.next(40)).collect();
        let mut starts: Vec<_> = texts
            .iter()
            .map(|text| text.split_whitespace().take(4).collect::<Vec<_>>())
            .collect();
        assert!(
            texts
                .iter()
                .all(|text| text.split_whitespace().count() == 40)
        );
        starts.sort();
        starts.dedup();
        assert_eq!(starts.len(), 100);
    }
}
