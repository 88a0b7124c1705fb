//! Text of an answer, token by token, without ever splitting a character.
//!
//! A token's text depends on its neighbours: a character may be spread over several tokens, and
//! SentencePiece drops the blank before the first word. So a short window of recent tokens is
//! decoded as a whole and what it adds to the text already given out is the token's text. The
//! window starts where the text was whole, one such place back from the latest:
//!
//! ```text
//! tokens   ... | t3 t4 | t5 t6 ...      | = the text up to here ends with a whole character
//!                ^window  ^boundary
//! ```

use std::sync::Arc;

use crate::api::tokenizer::Tokenizer;

/// What decoders write for bytes that are no character (yet).
const REPLACEMENT: char = '\u{FFFD}';

/// Replacement characters at the end that later bytes may still turn into text. Byte-fallback
/// decoders write one a byte, and for a whole run of bytes when its last character is unfinished:
/// up to 4 bytes of the character before the boundary and 3 of the next.
const MAX_HELD: usize = 7;

/// A window that finds no whole character for this long is cut to its half, so that an answer of
/// garbage bytes costs no more per token than text does. The half still holds all bytes (at most 3
/// each) of `MAX_HELD` replacement characters, and enough before them to fall into step.
const MAX_WINDOW: usize = 64;

/// Turns one answer's tokens into text.
#[derive(Debug)]
pub struct Detokenizer {
    tokenizer: Arc<Tokenizer>,
    window: Vec<u32>,
    /// Index into `window` of the latest place where the text was whole.
    boundary: usize,
    /// Bytes of the window's text that were given out.
    emitted: usize,
}

impl Detokenizer {
    /// Starts an answer.
    #[must_use]
    pub fn new(tokenizer: Arc<Tokenizer>) -> Self {
        Self {
            tokenizer,
            window: Vec::new(),
            boundary: 0,
            emitted: 0,
        }
    }

    /// The text that is complete with this token; empty for special tokens and for tokens that end
    /// inside a character.
    pub fn push(&mut self, id: u32) -> String {
        if self.tokenizer.is_special(id) {
            return String::new();
        }
        self.window.push(id);
        let text = self.tokenizer.decode(&self.window);
        let complete = complete_len(&text);
        let delta = text_between(&text, self.emitted, complete);
        self.emitted = self.emitted.max(complete);
        if complete == text.len() {
            self.advance();
        } else if self.window.len() > MAX_WINDOW {
            self.shorten(&text);
        }
        delta
    }

    /// The text that `id` would add if it came next, incomplete characters included.
    #[must_use]
    pub fn preview(&self, id: u32) -> String {
        if self.tokenizer.is_special(id) {
            return self.tokenizer.piece(id).unwrap_or_default();
        }
        let mut window = self.window.clone();
        window.push(id);
        let text = self.tokenizer.decode(&window);
        text_between(&text, self.emitted, text.len())
    }

    /// The text still held back, when no token follows.
    pub fn finish(&mut self) -> String {
        let text = self.tokenizer.decode(&std::mem::take(&mut self.window));
        let rest = text_between(&text, self.emitted, text.len());
        (self.boundary, self.emitted) = (0, 0);
        rest
    }

    /// Moves the window's start to the boundary, and the boundary to its end.
    fn advance(&mut self) {
        self.window.drain(..self.boundary);
        self.boundary = self.window.len();
        self.emitted = self.tokenizer.decode(&self.window).len();
    }

    /// Cuts a window without a boundary to its latest half; what was held back stays held back.
    fn shorten(&mut self, text: &str) {
        let held = text.len().saturating_sub(self.emitted);
        self.window.drain(..self.window.len() - MAX_WINDOW / 2);
        self.boundary = 0;
        self.emitted = self
            .tokenizer
            .decode(&self.window)
            .len()
            .saturating_sub(held);
    }
}

/// Bytes of the text before what later tokens may still change.
fn complete_len(text: &str) -> usize {
    let held = text
        .chars()
        .rev()
        .take(MAX_HELD)
        .take_while(|&c| c == REPLACEMENT)
        .count();
    text.len() - held * REPLACEMENT.len_utf8()
}

/// `text[from..to]`, empty when the range is, and never inside a character: a decoder may take back
/// what it wrote (byte fallback does when a run of bytes turns out to be no text).
fn text_between(text: &str, from: usize, to: usize) -> String {
    let from = text.ceil_char_boundary(from);
    text.get(from..to).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
