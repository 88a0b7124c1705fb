//! Stop strings, matched on the text of the answer wherever its tokens begin and end.
//!
//! The match that is complete first ends the answer; of several that end together the longest
//! counts. This does not depend on how the text is cut into tokens.

/// What becomes of the stop string that ended an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopText {
    /// It ends the text (native routes).
    Keep,
    /// The text ends before it (`/v1` routes). Text that may be the start of a stop string is held
    /// back until it is clear that it is not.
    Drop,
}

/// Watches one answer's text for stop strings.
#[derive(Debug)]
pub struct StopMatcher {
    stops: Vec<String>,
    mode: StopText,
    /// End of the text seen, as long as a match may still begin in it.
    tail: String,
    /// Bytes at the end of `tail` that were not given out.
    held: usize,
    /// The stop string that was found.
    found: Option<String>,
}

/// What one piece of text did.
#[derive(Debug, PartialEq, Eq)]
pub struct Released {
    /// Text that may be shown.
    pub text: String,
    /// Whether a stop string was found; nothing of what follows counts.
    pub stopped: bool,
}

impl StopMatcher {
    /// Watches for non-empty `stops`.
    #[must_use]
    pub fn new(stops: Vec<String>, mode: StopText) -> Self {
        Self {
            stops,
            mode,
            tail: String::new(),
            held: 0,
            found: None,
        }
    }

    /// Takes the next piece of the answer and gives out what may be shown of it.
    pub fn push(&mut self, piece: String) -> Released {
        if self.stops.is_empty() {
            return Released {
                text: piece,
                stopped: false,
            };
        }
        let shown = self.tail.len() - self.held;
        self.tail.push_str(&piece);
        if let Some((start, end)) = self.first_match() {
            let until = if self.mode == StopText::Keep {
                end
            } else {
                start
            };
            self.found = Some(self.tail[start..end].to_owned());
            // Text before `shown` is out already; only a kept stop string can begin there.
            let text = self.tail.get(shown..until).unwrap_or_default().to_owned();
            (self.tail, self.held) = (String::new(), 0);
            return Released {
                text,
                stopped: true,
            };
        }
        let open = self.open_len();
        let held = if self.mode == StopText::Drop { open } else { 0 };
        let text = self.tail[shown..self.tail.len() - held].to_owned();
        self.tail.drain(..self.tail.len() - open);
        self.held = held;
        Released {
            text,
            stopped: false,
        }
    }

    /// The stop string that ended the answer.
    #[must_use]
    pub fn found(&self) -> Option<&str> {
        self.found.as_deref()
    }

    /// The text still held back, when nothing follows.
    pub fn finish(&mut self) -> String {
        let tail = std::mem::take(&mut self.tail);
        tail[tail.len() - std::mem::take(&mut self.held)..].to_owned()
    }

    /// Start and end in `tail` of the match that is complete first, the longest of equals.
    fn first_match(&self) -> Option<(usize, usize)> {
        let found = self.stops.iter().filter_map(|stop| {
            let start = self.tail.find(stop.as_str())?;
            Some((start, start + stop.len()))
        });
        found.min_by_key(|&(start, end)| (end, start))
    }

    /// Length of the longest end of `tail` that a stop string begins with.
    fn open_len(&self) -> usize {
        self.stops
            .iter()
            .map(|stop| open_len(&self.tail, stop))
            .max()
            .unwrap_or(0)
    }
}

/// Length of the longest end of `text` that `stop` begins with, the whole of it excepted.
fn open_len(text: &str, stop: &str) -> usize {
    let (text, stop) = (text.as_bytes(), stop.as_bytes());
    let longest = text.len().min(stop.len() - 1);
    (1..=longest)
        .rev()
        .find(|&n| text.ends_with(&stop[..n]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests;
