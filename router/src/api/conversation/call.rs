//! One call's JSON object, read character by character: the name as soon as it is known, the
//! arguments as they come.

use serde_json::Value;

/// Reads `{"name": "..", "arguments": {..}}`, members in any order. The second may also be named
/// "parameters", be a string that holds the JSON, or be absent; further members are passed over.
#[derive(Debug, Default)]
pub(super) struct CallScanner {
    at: At,
    nesting: Nesting,
    key: String,
    /// The value that is being read, arguments that are an object excepted.
    value: String,
    name: Option<String>,
    has_arguments: bool,
    /// Arguments that were not taken yet.
    arguments: String,
}

/// Where an object's text stands after a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// Inside.
    More,
    /// At its end.
    Done,
    /// This is no call.
    Mismatch,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum At {
    #[default]
    Open,
    /// Before a member's name, or the end of an object without members.
    FirstKey,
    Key,
    InKey,
    Colon,
    Value,
    /// In a string, list or object.
    InNested,
    /// In a number or a word.
    InPlain,
    /// In arguments that are passed on as they come.
    InArguments,
    Comma,
}

impl CallScanner {
    /// The call's name, once it is clear that this is a call.
    pub(super) fn name(&self) -> Option<&str> {
        let begun = self.has_arguments;
        self.name.as_deref().filter(|_| begun)
    }

    /// The arguments' text since the last time.
    pub(super) fn take_arguments(&mut self) -> String {
        std::mem::take(&mut self.arguments)
    }

    /// Takes the next character.
    pub(super) fn push(&mut self, c: char) -> Status {
        match self.at {
            At::InKey | At::InNested | At::InArguments => return self.nested(c),
            At::InPlain if !matches!(c, ',' | '}') && !c.is_whitespace() => {
                self.value.push(c);
                return Status::More;
            }
            _ => {}
        }
        if self.at == At::InPlain && !self.end_value() {
            return Status::Mismatch;
        }
        if c.is_whitespace() {
            return Status::More;
        }
        self.structure(c)
    }

    /// A character between keys and values.
    fn structure(&mut self, c: char) -> Status {
        self.at = match (self.at, c) {
            (At::Open, '{') => At::FirstKey,
            (At::FirstKey | At::Key, '"') => {
                self.begin(c, At::InKey);
                At::InKey
            }
            (At::Colon, ':') => At::Value,
            (At::Comma, ',') => At::Key,
            (At::FirstKey | At::Comma, '}') => return self.end(),
            (At::Value, _) => self.begin_value(c),
            _ => return Status::Mismatch,
        };
        Status::More
    }

    fn begin_value(&mut self, c: char) -> At {
        let at = match c {
            '{' if self.is_arguments() => At::InArguments,
            '{' | '[' | '"' => At::InNested,
            _ => At::InPlain,
        };
        self.begin(c, at);
        at
    }

    fn begin(&mut self, c: char, at: At) {
        self.nesting = Nesting::default();
        self.nesting.push(c);
        self.value.clear();
        if at == At::InArguments {
            self.has_arguments = true;
            self.arguments.push(c);
        } else {
            self.value.push(c);
        }
    }

    fn is_arguments(&self) -> bool {
        !self.has_arguments && matches!(self.key.as_str(), "arguments" | "parameters")
    }

    /// A character inside a string, list or object.
    fn nested(&mut self, c: char) -> Status {
        if self.at == At::InArguments {
            self.arguments.push(c);
        } else {
            self.value.push(c);
        }
        let complete = self.nesting.push(c);
        let fits = match self.at {
            _ if !complete => true,
            At::InKey => self.end_key(),
            At::InArguments => {
                self.at = At::Comma;
                true
            }
            _ => self.end_value(),
        };
        if fits { Status::More } else { Status::Mismatch }
    }

    fn end_key(&mut self) -> bool {
        self.at = At::Colon;
        match serde_json::from_str(&self.value) {
            Ok(key) => self.key = key,
            Err(_) => return false,
        }
        true
    }

    /// Keeps a value that matters; false when it is none.
    fn end_value(&mut self) -> bool {
        self.at = At::Comma;
        let Ok(value) = serde_json::from_str::<Value>(&self.value) else {
            return false;
        };
        match value {
            Value::String(name) if self.key == "name" && self.name.is_none() => {
                self.name = Some(name);
                true
            }
            Value::String(json) if self.is_arguments() => self.whole_arguments(json),
            Value::Null if self.is_arguments() => self.whole_arguments("{}".to_owned()),
            _ => self.key != "name" && !self.is_arguments(),
        }
    }

    fn whole_arguments(&mut self, json: String) -> bool {
        self.has_arguments = true;
        self.arguments = json;
        true
    }

    fn end(&mut self) -> Status {
        if self.name.is_none() {
            return Status::Mismatch;
        }
        if !self.has_arguments {
            self.whole_arguments("{}".to_owned());
        }
        Status::Done
    }
}

/// How deep in brackets and strings a JSON value is.
#[derive(Debug, Default)]
struct Nesting {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Nesting {
    /// Takes the next character; true when it completes the value.
    fn push(&mut self, c: char) -> bool {
        if self.in_string {
            match c {
                _ if self.escaped => self.escaped = false,
                '\\' => self.escaped = true,
                '"' => self.in_string = false,
                _ => {}
            }
        } else {
            match c {
                '"' => self.in_string = true,
                '{' | '[' => self.depth += 1,
                '}' | ']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
        self.depth == 0 && !self.in_string
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name and arguments, and how the text ended.
    fn scan(text: &str) -> (Option<String>, String, Status) {
        let mut scanner = CallScanner::default();
        let mut status = Status::More;
        for c in text.chars() {
            status = scanner.push(c);
            if status != Status::More {
                break;
            }
        }
        let name = scanner.name().map(str::to_owned);
        (name, scanner.take_arguments(), status)
    }

    #[track_caller]
    fn assert_call(text: &str, arguments: &str) {
        let expected = (Some("f".to_owned()), arguments.to_owned(), Status::Done);
        assert_eq!(scan(text), expected, "{text}");
    }

    #[test]
    fn arguments_are_what_the_model_wrote() {
        assert_call(
            r#"{"name": "f", "arguments": {"a": [1, "}\""]}}"#,
            r#"{"a": [1, "}\""]}"#,
        );
        assert_call(r#" {"parameters" : {} , "name":"f"}"#, "{}");
        assert_call(
            r#"{"id": 5, "name": "f", "arguments": {"b": {}}, "x": [null]}"#,
            r#"{"b": {}}"#,
        );
    }

    #[test]
    fn arguments_may_be_a_string_or_absent() {
        assert_call(
            r#"{"name": "f", "arguments": "{\"a\": \"\\n\"}"}"#,
            r#"{"a": "\n"}"#,
        );
        assert_call(r#"{"name": "f"}"#, "{}");
        assert_call(r#"{"name": "f", "arguments": null}"#, "{}");
    }

    #[test]
    fn arguments_come_as_soon_as_the_name_is_known() {
        let (name, arguments, status) = scan(r#"{"name": "f", "arguments": {"a"#);
        assert_eq!((name.as_deref(), status), (Some("f"), Status::More));
        assert_eq!(arguments, r#"{"a"#);
        let (name, _, status) = scan(r#"{"arguments": {"a": 1}, "na"#);
        assert_eq!((name, status), (None, Status::More));
    }

    #[test]
    fn what_is_no_call_is_told_at_once() {
        for text in [
            "x",
            "{}",
            "{x",
            r#"{"name": 5,"#,
            r#"{"name": "f", "arguments": 5,"#,
            r#"{"name" "f""#,
            r#"{"name": "f" "arguments""#,
            r#"{"name": tru,"#,
            r#"{"arguments": {}}"#,
        ] {
            assert_eq!(scan(text).2, Status::Mismatch, "{text}");
        }
    }
}
