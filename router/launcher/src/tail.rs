//! The last lines of a program's output, in bounded memory.

use std::collections::VecDeque;
use std::fmt::{self, Display};

const MAX_LINES: usize = 50;
const MAX_LINE_BYTES: usize = 2048;

/// Cuts bytes into lines as a terminal would show them: what a carriage return overwrote is gone.
#[derive(Debug, Default)]
pub(crate) struct LineBuffer {
    line: Vec<u8>,
    returned: bool,
}

impl LineBuffer {
    /// Takes bytes in and hands out each line that they complete.
    pub(crate) fn push(&mut self, bytes: &[u8], mut each: impl FnMut(String)) {
        for &byte in bytes {
            match byte {
                b'\n' => each(self.take()),
                b'\r' => self.returned = true,
                _ => self.put(byte),
            }
        }
    }

    fn put(&mut self, byte: u8) {
        if std::mem::take(&mut self.returned) {
            self.line.clear();
        }
        if self.line.len() < MAX_LINE_BYTES {
            self.line.push(byte);
        }
    }

    fn take(&mut self) -> String {
        self.returned = false;
        let line = String::from_utf8_lossy(&self.line).into_owned();
        self.line.clear();
        line
    }
}

/// The last lines, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Tail(VecDeque<String>);

impl Tail {
    pub(crate) fn push(&mut self, line: String) {
        if self.0.len() == MAX_LINES {
            self.0.pop_front();
        }
        self.0.push_back(line);
    }
}

impl Display for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&str]) -> Vec<String> {
        let (mut buffer, mut lines) = (LineBuffer::default(), Vec::new());
        for chunk in chunks {
            buffer.push(chunk.as_bytes(), |line| lines.push(line));
        }
        lines
    }

    #[test]
    fn lines_are_whole_however_the_bytes_arrive() {
        assert_eq!(lines(&["a", "b\nc", "d\n", "rest"]), ["ab", "cd"]);
    }

    #[test]
    fn a_progress_bar_leaves_its_last_state() {
        assert_eq!(
            lines(&["10%\r20%\r", "100%\nwindows\r\n"]),
            ["100%", "windows"]
        );
    }

    #[test]
    fn a_line_is_cut_at_its_limit() {
        let line = |length: usize| lines(&[&"x".repeat(length), "\n"])[0].len();
        assert_eq!(line(MAX_LINE_BYTES), MAX_LINE_BYTES);
        assert_eq!(line(MAX_LINE_BYTES + 1), MAX_LINE_BYTES);
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let mut tail = Tail::default();
        (0..=MAX_LINES).for_each(|number| tail.push(number.to_string()));
        let text = tail.to_string();
        assert_eq!(text.lines().skip(1).count(), MAX_LINES);
        assert!(text.starts_with("\n  1\n") && text.ends_with("\n  50"));
    }
}
