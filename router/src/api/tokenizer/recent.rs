//! Texts encoded lately, and where a text that begins like one of them may go on.
//!
//! A turn of a conversation repeats all turns before it. Its tokens are those of the earlier text up
//! to a [`Cut`] within the common beginning, and those of the rest, encoded alone.

use std::collections::{HashSet, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokenizers::{AddedToken, Encoding, Result, Tokenizer};

use super::pipeline;

/// Shorter texts are encoded whole: that takes less than a millisecond. Tests cut all texts.
const SHORTEST: usize = if cfg!(test) { 1 } else { 2048 };

/// Least distance of two cuts, in bytes. Tests cut wherever they can.
const SPACING: usize = if cfg!(test) { 1 } else { 256 };

/// Bytes that the texts and their tokens may take. The oldest ones leave first.
const CAPACITY: usize = 64 << 20;

/// Texts kept at most, which bounds a search.
const MOST_TEXTS: usize = 1024;

/// A place at which a text may be taken apart, so that its tokens are those of both sides.
#[derive(Debug, Clone, Copy)]
struct Cut {
    /// Where the right side begins.
    byte: usize,
    /// Tokens of the left side.
    token: usize,
    /// Bytes that another text must have in common for the cut to hold there too.
    needs: usize,
}

/// Which places are cuts, by the tokenizer's own rules.
#[derive(Debug)]
struct Rules {
    /// Special tokens before which a text may be cut: no other added token holds one of them and goes
    /// on after it, and they take no blanks beside them.
    special: HashSet<u32>,
    /// Whether the text may be cut between a letter and a blank that a letter follows.
    words: bool,
}

#[derive(Debug)]
struct Encoded {
    text: String,
    /// Shared with the request that the text came with.
    ids: Arc<Vec<u32>>,
    cuts: Vec<Cut>,
}

/// Token ids of a text, and how much of it had to be encoded for them.
#[derive(Debug)]
pub(super) struct Ids {
    pub(super) ids: Arc<Vec<u32>>,
    /// Bytes that were not taken over from an earlier text.
    pub(super) encoded_bytes: usize,
}

/// The texts that a tokenizer encoded lately, the latest first.
#[derive(Debug)]
pub(super) struct Recent {
    rules: Rules,
    texts: Mutex<VecDeque<Arc<Encoded>>>,
}

impl Recent {
    pub(super) fn new(tokenizer: &Tokenizer) -> Self {
        Self {
            rules: Rules::of(tokenizer),
            texts: Mutex::default(),
        }
    }

    /// Token ids of a text, without those that the tokenizer puts around it: the same as
    /// `tokenizer.encode(text, false)` gives.
    ///
    /// # Errors
    /// What the tokenizer refuses.
    pub(super) fn encode(&self, tokenizer: &Tokenizer, text: String) -> Result<Ids> {
        if text.len() < SHORTEST || !self.rules.has_cuts() {
            let encoded_bytes = text.len();
            let encoding = tokenizer.encode_fast(text, false)?;
            return Ok(Ids {
                ids: Arc::new(encoding.get_ids().to_vec()),
                encoded_bytes,
            });
        }
        let earlier = self.nearest(&text);
        let beginning = earlier
            .as_ref()
            .map(|(earlier, common)| earlier.beginning(*common));
        let (start, mut ids, mut cuts) = beginning.unwrap_or_default();
        let rest = tokenizer.encode(&text[start..], false)?;
        self.rules
            .find_cuts(&text, (start, ids.len()), &rest, &mut cuts);
        ids.extend(rest.get_ids());
        let outgrown = earlier.filter(|(earlier, common)| *common == earlier.text.len());
        let encoded_bytes = text.len() - start;
        let ids = Arc::new(ids);
        let encoded = Encoded {
            text,
            ids: Arc::clone(&ids),
            cuts,
        };
        self.keep(encoded, outgrown.map(|(earlier, _)| earlier));
        Ok(Ids { ids, encoded_bytes })
    }

    /// The text with the longest common beginning, and the length of that in bytes.
    fn nearest(&self, text: &str) -> Option<(Arc<Encoded>, usize)> {
        // Compared outside of the lock: long texts take a while, and other workers encode meanwhile.
        let texts = self.texts().clone();
        let common = |earlier: &Encoded| common_bytes(&earlier.text, text);
        texts
            .into_iter()
            .map(|earlier| (common(&earlier), earlier))
            .max_by_key(|(common, _)| *common)
            .map(|(common, nearest)| (nearest, common))
    }

    fn texts(&self) -> MutexGuard<'_, VecDeque<Arc<Encoded>>> {
        self.texts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, encoded: Encoded, outgrown: Option<Arc<Encoded>>) {
        let mut texts = self.texts();
        if let Some(outgrown) = outgrown {
            texts.retain(|text| !Arc::ptr_eq(text, &outgrown));
        }
        texts.push_front(Arc::new(encoded));
        let mut room = CAPACITY;
        let kept = texts.iter().take(MOST_TEXTS).take_while(|text| {
            let fits = text.bytes() <= room;
            room = room.saturating_sub(text.bytes());
            fits
        });
        let kept = kept.count();
        texts.truncate(kept);
    }
}

impl Encoded {
    /// What a text with `common` equal bytes at its beginning can take over: the bytes up to the last
    /// cut that holds for it, their tokens and the cuts.
    fn beginning(&self, common: usize) -> (usize, Vec<u32>, Vec<Cut>) {
        let cuts = self.cuts.partition_point(|cut| cut.needs <= common);
        let cuts = &self.cuts[..cuts];
        cuts.last().map_or_else(Default::default, |last| {
            (last.byte, self.ids[..last.token].to_vec(), cuts.to_vec())
        })
    }

    fn bytes(&self) -> usize {
        self.text.len() + size_of_val(self.ids.as_slice()) + size_of_val(&*self.cuts)
    }
}

impl Rules {
    fn of(tokenizer: &Tokenizer) -> Self {
        let added = tokenizer.get_added_tokens_decoder();
        let stands_alone = |token: &AddedToken| {
            let alone = !(token.normalized || token.single_word || token.lstrip || token.rstrip);
            alone
                && added
                    .values()
                    .all(|other| !goes_on(&other.content, &token.content))
        };
        let special = added
            .iter()
            .filter(|(_, token)| stands_alone(token))
            .map(|(&id, _)| id);
        let spans_words = |token: &AddedToken| {
            token.rstrip || (0..token.content.len()).any(|at| is_word_cut(&token.content, at))
        };
        Self {
            special: special.collect(),
            words: pipeline::splits_words(tokenizer) && !added.values().any(spans_words),
        }
    }

    fn has_cuts(&self) -> bool {
        self.words || !self.special.is_empty()
    }

    /// Adds the cuts in the rest of a text, which begins at a byte and at a token of it.
    fn find_cuts(
        &self,
        text: &str,
        (start, token): (usize, usize),
        rest: &Encoding,
        cuts: &mut Vec<Cut>,
    ) {
        let mut before = start;
        for (token, (&id, &(from, to))) in
            (token..).zip(rest.get_ids().iter().zip(rest.get_offsets()))
        {
            let (from, to) = (start + from, start + to);
            let next = cuts.last().map_or(SPACING, |cut| cut.byte + SPACING);
            if from >= next
                && let Some((byte, needs)) = self.cut_at(text, id, from..to)
                && byte >= before
            {
                cuts.push(Cut { byte, token, needs });
            }
            before = to;
        }
    }

    /// Where a text may be cut before a token of it, and up to where that must be known.
    fn cut_at(&self, text: &str, id: u32, bytes: Range<usize>) -> Option<(usize, usize)> {
        if self.special.contains(&id) {
            return Some((bytes.start, bytes.end));
        }
        // Some tokenizers leave the blank before a word out of its bytes.
        let blank = [bytes.start, bytes.start.saturating_sub(1)]
            .into_iter()
            .find(|&at| self.words && is_word_cut(text, at))?;
        Some((blank, blank + 2))
    }
}

/// Whether the byte is a blank between two letters.
fn is_word_cut(text: &str, at: usize) -> bool {
    let is_letter = |at: usize| text.as_bytes().get(at).is_some_and(u8::is_ascii_alphabetic);
    text.as_bytes().get(at) == Some(&b' ') && at > 0 && is_letter(at - 1) && is_letter(at + 1)
}

/// Whether `part` lies in `whole` with something after it.
fn goes_on(whole: &str, part: &str) -> bool {
    whole
        .match_indices(part)
        .any(|(at, _)| at + part.len() < whole.len())
}

/// Length of the common beginning.
fn common_bytes(a: &str, b: &str) -> usize {
    const BLOCK: usize = 64;
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let blocks = a.chunks_exact(BLOCK).zip(b.chunks_exact(BLOCK));
    let equal = blocks.take_while(|(a, b)| a == b).count() * BLOCK;
    let tail = a[equal..].iter().zip(&b[equal..]);
    equal + tail.take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests;
