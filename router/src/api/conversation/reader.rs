//! The text of an answer as the assistant's words and calls. Fed in pieces of any size, with the
//! same result; text that may begin a call is held back until that is clear.

use std::collections::HashSet;
use std::sync::Arc;

use uuid::Uuid;

use super::ToolCall;
use super::call::{CallScanner, Status};
use super::format::{Body, ToolFormat};

/// What an answer says next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Words to the user.
    Text(String),
    /// A call begins.
    Call {
        /// Which of the answer's calls, from 0.
        index: usize,
        /// Its id.
        id: String,
        /// The tool.
        name: String,
    },
    /// More of the arguments' JSON text of the call that began last.
    Arguments {
        /// Which of the answer's calls.
        index: usize,
        /// The text.
        json: String,
    },
}

/// A whole answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// Words to the user; may be empty.
    pub text: String,
    /// Calls, in their order.
    pub calls: Vec<ToolCall>,
}

/// Reads one answer.
#[derive(Debug)]
pub struct Reader {
    grammar: Option<Calls>,
    at: At,
    /// White space that is shown only if text follows.
    blank: String,
    /// Text that may be the beginning of a mark.
    mark: String,
    /// The call so far, in case that it is none.
    raw: String,
    scanner: CallScanner,
    /// Whether the call that is being read was told.
    told: bool,
    begun: usize,
    /// Whether text was shown.
    spoke: bool,
    pieces: Vec<Piece>,
}

/// What a reader looks for.
#[derive(Debug, Clone)]
pub(super) struct Calls {
    pub(super) format: &'static ToolFormat,
    /// Names of the tools.
    pub(super) names: Arc<HashSet<String>>,
    /// Whether the answer is a list of calls and nothing else.
    pub(super) forced: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// In the words to the user.
    Text,
    /// Before a list of calls.
    List,
    /// In a call, or before it.
    Call,
    /// After a call in a list.
    Comma,
    /// After a call, before the mark that ends it.
    Close,
}

impl Reader {
    pub(super) fn new(grammar: Option<Calls>) -> Self {
        let at = match &grammar {
            Some(calls) if calls.forced => At::List,
            _ => At::Text,
        };
        Self {
            grammar,
            at,
            blank: String::new(),
            mark: String::new(),
            raw: String::new(),
            scanner: CallScanner::default(),
            told: false,
            begun: 0,
            spoke: false,
            pieces: Vec::new(),
        }
    }

    /// Whether the answer may hold calls.
    #[must_use]
    pub fn may_call(&self) -> bool {
        self.grammar.is_some()
    }

    /// Takes the next piece of the answer's text.
    pub fn push(&mut self, text: &str) -> Vec<Piece> {
        if let Some(calls) = self.grammar.take() {
            for c in text.chars() {
                self.take(c, &calls);
            }
            self.grammar = Some(calls);
        } else {
            self.say(text);
        }
        std::mem::take(&mut self.pieces)
    }

    /// What was held back, when no text follows.
    pub fn finish(&mut self) -> Vec<Piece> {
        if self.is_forced() {
            // Cut inside the list: what is there of it is no word to the user.
            self.raw.clear();
        }
        if self.at == At::Close {
            // Cut inside the mark that ends a call.
            self.mark.clear();
        }
        self.give_up();
        let mark = std::mem::take(&mut self.mark);
        let blank = std::mem::take(&mut self.blank);
        if self.begun == 0 || !mark.is_empty() {
            self.say(&blank);
        }
        self.say(&mark);
        std::mem::take(&mut self.pieces)
    }

    /// The whole answer at once.
    #[must_use]
    pub fn read(mut self, text: &str) -> Reply {
        let mut pieces = self.push(text);
        pieces.extend(self.finish());
        let mut reply = Reply::default();
        for piece in pieces {
            reply.add(piece);
        }
        reply
    }

    fn is_forced(&self) -> bool {
        self.grammar.as_ref().is_some_and(|calls| calls.forced)
    }

    fn take(&mut self, c: char, calls: &Calls) {
        match self.at {
            At::Text => self.text(c, calls),
            At::Close => self.close(c, calls),
            At::Call => self.call(c, calls),
            At::List | At::Comma => self.list(c, calls),
        }
    }

    fn text(&mut self, c: char, calls: &Calls) {
        let format = calls.format;
        let begins_bare = format.bare && c == '{' && self.mark.is_empty();
        if begins_bare && !self.spoke {
            self.begin(format.body);
            return self.call(c, calls);
        }
        let separates = format.bare && c == ';' && self.begun > 0;
        if self.mark.is_empty() && (c.is_whitespace() || separates) {
            return self.blank.push(c);
        }
        self.mark.push(c);
        while !format.open.starts_with(&self.mark) {
            let first = self.mark.remove(0);
            if first.is_whitespace() {
                self.blank.push(first);
            } else {
                let blank = std::mem::take(&mut self.blank);
                self.say(&blank);
                self.say(first.encode_utf8(&mut [0; 4]));
            }
        }
        if self.mark == format.open {
            self.begin(format.body);
        }
    }

    /// A list or a call begins here.
    fn begin(&mut self, body: Body) {
        self.raw = std::mem::take(&mut self.mark);
        self.start_call();
        self.at = match body {
            Body::Object => At::Call,
            Body::List => At::List,
        };
    }

    fn start_call(&mut self) {
        self.scanner = CallScanner::default();
        self.told = false;
        self.at = At::Call;
    }

    fn list(&mut self, c: char, calls: &Calls) {
        if self.at == At::List {
            self.raw.push(c);
        }
        match (self.at, c) {
            (_, c) if c.is_whitespace() => {}
            (At::List, '[') | (At::Comma, ',') => self.start_call(),
            (At::List, _) => self.give_up(),
            (_, ']') => self.at = At::Text,
            _ => {
                self.at = At::Text;
                self.text(c, calls);
            }
        }
    }

    fn call(&mut self, c: char, calls: &Calls) {
        if !self.told {
            self.raw.push(c);
        }
        let status = self.scanner.push(c);
        let name = self.scanner.name().filter(|_| !self.told);
        if let Some(name) = name.map(str::to_owned) {
            if !calls.names.contains(&name) {
                return self.give_up();
            }
            self.tell(name);
        }
        if self.told {
            self.pass_arguments();
        }
        match status {
            Status::More => {}
            Status::Mismatch => self.give_up(),
            Status::Done => self.at = calls.after_call(),
        }
    }

    fn tell(&mut self, name: String) {
        self.told = true;
        self.raw.clear();
        self.blank.clear();
        let id = format!("call_{}", Uuid::new_v4().simple());
        let index = self.begun;
        self.pieces.push(Piece::Call { index, id, name });
        self.begun += 1;
    }

    fn pass_arguments(&mut self) {
        let more = self.scanner.take_arguments();
        if more.is_empty() {
            return;
        }
        if let Some(Piece::Arguments { json, .. }) = self.pieces.last_mut() {
            json.push_str(&more);
        } else {
            let index = self.begun - 1;
            self.pieces.push(Piece::Arguments { index, json: more });
        }
    }

    /// After a call that ends with a mark; text in its place ends the call as well.
    fn close(&mut self, c: char, calls: &Calls) {
        if self.mark.is_empty() && c.is_whitespace() {
            return;
        }
        self.mark.push(c);
        if self.mark == calls.format.close {
            self.mark.clear();
            self.at = At::Text;
        } else if !calls.format.close.starts_with(&self.mark) {
            self.at = At::Text;
            for c in std::mem::take(&mut self.mark).chars() {
                self.text(c, calls);
            }
        }
    }

    /// What looked like a call is none: it is text.
    fn give_up(&mut self) {
        let raw = std::mem::take(&mut self.raw);
        if !raw.is_empty() {
            let blank = std::mem::take(&mut self.blank);
            self.say(&blank);
            self.say(&raw);
        }
        self.at = At::Text;
    }

    fn say(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        self.spoke = true;
        if let Some(Piece::Text(said)) = self.pieces.last_mut() {
            said.push_str(text);
        } else {
            self.pieces.push(Piece::Text(text.to_owned()));
        }
    }
}

impl Calls {
    fn after_call(&self) -> At {
        if self.forced || self.format.body == Body::List {
            At::Comma
        } else if self.format.close.is_empty() {
            At::Text
        } else {
            At::Close
        }
    }
}

impl Reply {
    fn add(&mut self, piece: Piece) {
        match piece {
            Piece::Text(text) => self.text.push_str(&text),
            Piece::Call { id, name, .. } => self.calls.push(ToolCall {
                id,
                name,
                arguments: String::new(),
            }),
            Piece::Arguments { index, json } => self.calls[index].arguments.push_str(&json),
        }
    }
}

#[cfg(test)]
mod tests;
