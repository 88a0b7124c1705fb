use super::*;
use crate::api::conversation::format::HERMES;

const MISTRAL: &str = "{{ '[TOOL_CALLS] [' }}";
const LLAMA: &str = "{{ '<|python_tag|>' }}";

fn of(template: &str) -> &'static ToolFormat {
    ToolFormat::of_template(template).expect("a format of the table")
}

fn reader(format: &'static ToolFormat, forced: bool) -> Reader {
    let names = ["f", "g"].map(str::to_owned).into();
    Reader::new(Some(Calls {
        format,
        names: Arc::new(names),
        forced,
    }))
}

/// The words, and each call as name and arguments.
type Read = (String, Vec<(String, String)>);

fn read(mut reader: Reader, parts: &[&str]) -> Read {
    let mut pieces: Vec<Piece> = parts.iter().flat_map(|part| reader.push(part)).collect();
    pieces.extend(reader.finish());
    let (mut words, mut calls) = (String::new(), Vec::new());
    for piece in pieces {
        match piece {
            Piece::Text(text) => words.push_str(&text),
            Piece::Call { index, id, name } => {
                assert_eq!(index, calls.len());
                assert!(id.starts_with("call_"), "{id}");
                calls.push((name, String::new()));
            }
            Piece::Arguments { index, json } => {
                assert_eq!(index + 1, calls.len());
                calls[index].1.push_str(&json);
            }
        }
    }
    (words, calls)
}

/// Reads the text whole, in two parts cut anywhere, and in characters: always the same.
#[track_caller]
fn assert_read(
    format: &'static ToolFormat,
    forced: bool,
    text: &str,
    expected: (&str, &[(&str, &str)]),
) {
    let calls = expected
        .1
        .iter()
        .map(|&(name, json)| (name.to_owned(), json.to_owned()));
    let expected = (expected.0.to_owned(), calls.collect::<Vec<_>>());
    for (cut, _) in text.char_indices() {
        let (start, end) = text.split_at(cut);
        assert_eq!(
            read(reader(format, forced), &[start, end]),
            expected,
            "{start:?} {end:?}"
        );
    }
    let characters: Vec<_> = text.split("").collect();
    assert_eq!(read(reader(format, forced), &characters), expected);
}

#[test]
fn words_pass_as_they_come() {
    let mut plain = Reader::new(None);
    assert_eq!(
        plain.push("a <tool_call> "),
        [Piece::Text("a <tool_call> ".into())]
    );
    let mut with_tools = reader(&HERMES, false);
    assert_eq!(with_tools.push("a <b"), [Piece::Text("a <b".into())]);
    assert_eq!(with_tools.push(" <to"), []);
    assert_eq!(with_tools.push("ol>"), [Piece::Text(" <tool>".into())]);
    assert_read(&HERMES, false, " is 1 < 2? \n", (" is 1 < 2? \n", &[]));
}

#[test]
fn a_call_is_told_as_soon_as_its_name_is_known() {
    let mut reader = reader(&HERMES, false);
    assert_eq!(reader.push("<tool_call>\n{\"name\": \"f\", \"arg"), []);
    let pieces = reader.push("uments\": {\"a\"");
    assert!(
        matches!(&pieces[0], Piece::Call { index: 0, name, .. } if name == "f"),
        "{pieces:?}"
    );
    let arguments = |json: &str| Piece::Arguments {
        index: 0,
        json: json.into(),
    };
    assert_eq!(pieces[1..], [arguments("{\"a\"")]);
    assert_eq!(reader.push(": 1}"), [arguments(": 1}")]);
    assert_eq!(reader.push("}\n</tool_call>"), []);
}

#[test]
fn calls_between_marks_are_no_words() {
    let call = |name: &str, json: &str| {
        format!("<tool_call>\n{{\"name\": \"{name}\", \"arguments\": {json}}}\n</tool_call>")
    };
    let text = format!(
        "So: {}\n{}\n",
        call("f", "{\"a\": \"</tool_call>\"}"),
        call("g", "{}")
    );
    let calls = [("f", "{\"a\": \"</tool_call>\"}"), ("g", "{}")];
    assert_read(&HERMES, false, &text, ("So:", &calls));
}

#[test]
fn what_only_looks_like_a_call_is_words() {
    for text in [
        "<tool_call>{\"name\": \"unknown\", \"arguments\": {}}</tool_call>",
        "a <tool_call> is a mark",
        "<tool_call>[]",
        "ends in <tool_ca",
    ] {
        assert_read(&HERMES, false, text, (text, &[]));
    }
}

#[test]
fn a_call_that_is_cut_off_keeps_what_came() {
    let text = "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"x";
    assert_read(&HERMES, false, text, ("", &[("f", "{\"a\": \"x")]));
    let text = "<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_";
    assert_read(&HERMES, false, text, ("", &[("f", "{}")]));
}

#[test]
fn lists_of_calls_follow_their_mark() {
    let text = "Well. [TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"a\": 1}}, {\"name\": \"g\", \"arguments\": {}}]";
    assert_read(
        of(MISTRAL),
        false,
        text,
        ("Well.", &[("f", "{\"a\": 1}"), ("g", "{}")]),
    );
}

#[test]
fn bare_calls_stand_at_the_start() {
    let text =
        "{\"name\": \"f\", \"parameters\": {\"a\": 1}}; {\"name\": \"g\", \"parameters\": {}}";
    assert_read(
        of(LLAMA),
        false,
        text,
        ("", &[("f", "{\"a\": 1}"), ("g", "{}")]),
    );
    let text = "a set {\"name\": \"f\"}";
    assert_read(of(LLAMA), false, text, (text, &[]));
    assert_read(of(LLAMA), false, "{1, 2}", ("{1, 2}", &[]));
}

#[test]
fn forced_calls_are_a_list_without_marks() {
    let text =
        "[ {\"name\": \"f\", \"arguments\": {}} ,\n{\"name\": \"g\", \"arguments\": {\"b\": []}}]";
    assert_read(
        &HERMES,
        true,
        text,
        ("", &[("f", "{}"), ("g", "{\"b\": []}")]),
    );
    assert_read(&HERMES, true, "[{\"name\": \"f\", \"arg", ("", &[]));
    let text = "[{\"name\": \"f\", \"arguments\": {\"a\"";
    assert_read(&HERMES, true, text, ("", &[("f", "{\"a\"")]));
}
