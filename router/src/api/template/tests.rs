use super::*;
use crate::config::Limits;

const CHATML: &str = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + \
    message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}\
    {{ '<|im_start|>assistant\n' }}{% endif %}";

fn message(role: &str, content: &str) -> Message {
    Message::text(role, content)
}

fn compile(source: &str, limits: &Limits) -> Result<ChatTemplate, TemplateError> {
    ChatTemplate::new(source, ("<s>", "</s>"), limits)
}

fn render(source: &str, messages: &[Message]) -> Result<String, String> {
    let template = compile(source, &Limits::default()).map_err(|error| error.to_string())?;
    template
        .render(messages, &[], (Ending::Auto, &Map::new()))
        .map_err(|error| error.to_string())
}

#[test]
fn renders_a_conversation_and_asks_for_the_answer() {
    let text = render(
        CHATML,
        &[message("system", "Be brief."), message("user", "1 < 2?")],
    );
    let expected = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n1 < 2?<|im_end|>\n\
        <|im_start|>assistant\n";
    assert_eq!(text.unwrap(), expected);
}

#[test]
fn leaves_a_last_assistant_message_open() {
    // "im" is also part of the end mark that follows it.
    let text = render(
        CHATML,
        &[message("user", "Hi"), message("assistant", "im ")],
    );
    assert_eq!(
        text.unwrap(),
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nim"
    );
}

#[test]
fn does_not_continue_an_empty_assistant_message() {
    let text = render(CHATML, &[message("assistant", "")]).unwrap();
    assert!(text.ends_with("<|im_start|>assistant\n"), "{text:?}");
}

#[test]
fn refuses_to_continue_a_message_that_the_template_leaves_out() {
    let text = render("{{ messages | length }}", &[message("assistant", "Well")]);
    assert!(
        text.unwrap_err()
            .contains("does not write the last message")
    );
}

#[test]
fn ends_as_it_is_told() {
    let template = compile(CHATML, &Limits::default()).unwrap();
    let messages = [message("user", "Hi"), message("assistant", "Well")];
    let none = Map::new();
    let render = |ending| template.render(&messages, &[], (ending, &none)).unwrap();
    let whole = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nWell<|im_end|>\n";
    for (ending, expected) in [
        (
            Ending::Auto,
            whole.trim_end_matches("<|im_end|>\n").to_owned(),
        ),
        (
            Ending::Continue,
            whole.trim_end_matches("<|im_end|>\n").to_owned(),
        ),
        (Ending::Begin, format!("{whole}<|im_start|>assistant\n")),
        (Ending::Closed, whole.to_owned()),
    ] {
        assert_eq!(render(ending), expected, "{ending:?}");
    }
    let user = template.render(&messages[..1], &[], (Ending::Continue, &none));
    assert_eq!(user.unwrap(), "<|im_start|>user\nHi");
}

#[test]
fn is_told_more_than_messages_but_nothing_else_in_their_place() {
    let source = "{{ enable_thinking }} {{ deep.list[0] }} {{ messages | length }}";
    let template = compile(source, &Limits::default()).unwrap();
    let told =
        serde_json::json!({"enable_thinking": false, "deep": {"list": ["x"]}, "messages": []});
    let told = told.as_object().expect("an object");
    let text = template.render(&[message("user", "Hi")], &[], (Ending::Auto, told));
    assert_eq!(text.unwrap(), "False x 1");
}

#[test]
fn passes_the_models_refusal_on() {
    let source = "{% if messages[0].role != 'user' %}{{ raise_exception('roles must alternate') }}{% endif %}";
    let error = render(source, &[message("system", "x")]).unwrap_err();
    assert_eq!(error, "chat template: roles must alternate (line 1)");
}

#[test]
fn knows_the_special_tokens_and_python_methods() {
    let source = "{{ bos_token }}{{ messages[0].content.strip().split(' ')[0] }}{{ eos_token }}";
    assert_eq!(
        render(source, &[message("user", " a b ")]).unwrap(),
        "<s>a</s>"
    );
}

#[test]
fn writes_json_as_python_does() {
    let source = r#"{{ {"a": [1, "<é'"], "b": none} | tojson }}"#;
    assert_eq!(
        render(source, &[]).unwrap(),
        r#"{"a": [1, "<é'"], "b": null}"#
    );
    let source = r#"{{ {"a": [1]} | tojson(indent=2) }}"#;
    assert_eq!(render(source, &[]).unwrap(), "{\n  \"a\": [\n    1\n  ]\n}");
}

#[test]
fn tells_the_time() {
    let text = render("{{ strftime_now('%Y') }}", &[]).unwrap();
    assert!(text.parse::<u32>().is_ok_and(|year| year > 2000), "{text}");
    assert!(
        render("{{ strftime_now('%!') }}", &[])
            .unwrap_err()
            .contains("strftime_now")
    );
}

#[test]
fn takes_generation_marks_for_what_they_enclose() {
    let source = "a {%- generation %} b {% endgeneration -%} c {% set generation = 1 %}";
    assert_eq!(render(source, &[]).unwrap(), "a b c ");
}

#[test]
fn trims_blocks_as_hugging_face_does() {
    assert_eq!(
        render("  {% if true %}\nx\n  {% endif %}\ny", &[]).unwrap(),
        "x\ny"
    );
}

#[test]
fn stops_a_template_that_works_for_ever() {
    let source = "{% for i in range(9999) %}{% for j in range(9999) %}x{% endfor %}{% endfor %}";
    assert!(render(source, &[]).unwrap_err().contains("fuel"));
}

#[test]
fn a_template_that_is_no_jinja_is_refused() {
    assert!(render("{% for %}", &[]).unwrap_err().contains("line 1"));
}

#[test]
fn tools_are_none() {
    assert_eq!(
        render("{% if tools is none %}-{% endif %}", &[]).unwrap(),
        "-"
    );
}

#[test]
fn work_and_text_are_bounded_from_both_sides() {
    let messages = [message("user", &"x".repeat(1000))];
    let reached = |limits: &Limits| {
        let template = compile(CHATML, limits).expect("it compiles");
        template
            .render(&messages, &[], (Ending::Auto, &Map::new()))
            .map(|text| text.len())
            .map_err(|error| error.limit)
    };
    let limited = |max_template_fuel, max_template_bytes| Limits {
        max_template_fuel,
        max_template_bytes,
        ..Limits::default()
    };
    let length = reached(&limited(10_000, 10_000)).expect("within its limits");
    assert_eq!(reached(&limited(10_000, length)), Ok(length));
    let beyond = Some(LimitName::TemplateBytes);
    assert_eq!(reached(&limited(10_000, length - 1)), Err(beyond));
    assert_eq!(
        reached(&limited(10, 10_000)),
        Err(Some(LimitName::TemplateFuel))
    );
}
