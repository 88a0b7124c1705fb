//! Every value has a source, and no secret is shown.

use std::path::Path;

use super::*;
use crate::parse::parse;
use crate::resolve::resolve;

fn printed(flags: &[&str]) -> Map<String, Value> {
    let parsed = parse([&["launcher"], flags].concat()).expect("the flags parse");
    let origins = parsed.origins.clone();
    let config = resolve(parsed, Path::new("/run/x")).expect("the flags are right");
    with_sources(&config, &origins)
}

#[test]
fn each_value_says_where_it_came_from() {
    let all = printed(&[
        "--port",
        "7",
        "--kv-memory",
        "1GiB",
        "--max-input-length",
        "9",
    ]);
    let entry = |section: &str, field: &str| all[section][field].clone();
    assert_eq!(
        entry("router", "port"),
        json!({"value": 7, "source": "flag --port"})
    );
    assert_eq!(
        entry("engine", "kv_memory_bytes")["source"],
        "flag --kv-memory"
    );
    assert_eq!(
        entry("engine", "max_input_tokens")["source"],
        "flag --max-input-length"
    );
    assert_eq!(
        entry("engine", "num_shard"),
        json!({"value": 1, "source": "default"})
    );
    assert_eq!(
        entry("engine", "run_dir")["source"],
        "computed at each start"
    );
    assert_eq!(all["router"]["limits"]["max_messages"]["source"], "default");
}

/// A field of the configuration without a flag would say "default" for ever.
#[test]
fn every_field_belongs_to_a_flag_or_is_computed() {
    let command = Args::command();
    let is_flag = |name: &str| command.get_arguments().any(|arg| arg.get_id() == name);
    fn fields(value: &Value, found: &mut Vec<String>) {
        for (name, value) in value.as_object().into_iter().flatten() {
            match value.get("source") {
                Some(_) => found.push(name.clone()),
                None => fields(value, found),
            }
        }
    }
    let mut found = vec![];
    fields(&Value::Object(printed(&[])), &mut found);
    assert!(found.len() > 40);
    for field in found {
        let renamed = RENAMED.iter().find(|(name, _)| *name == field);
        let known = renamed.map_or(is_flag(&field), |(_, flags)| {
            flags.iter().all(|f| is_flag(f))
        });
        assert!(known || COMPUTED.contains(&&*field), "{field} has no flag");
    }
}

#[test]
fn a_secret_is_masked_in_both_forms() {
    let all = printed(&["--api-key", "hunter2"]);
    assert_eq!(all["router"]["api_key"]["value"], "[secret]");
    let text = as_text(&all);
    assert!(
        text.contains("api_key = \"[secret]\"") && !text.contains("hunter2"),
        "{text}"
    );
    assert_eq!(printed(&[])["router"]["api_key"]["value"], Value::Null);
}

#[test]
fn the_text_has_a_heading_for_each_section() {
    let text = as_text(&printed(&[]));
    for heading in [
        "[model]",
        "[engine]",
        "[router]",
        "[router.limits]",
        "[router.http]",
    ] {
        assert_eq!(
            text.lines().filter(|line| *line == heading).count(),
            1,
            "{text}"
        );
    }
    assert!(
        text.lines()
            .any(|line| line.starts_with("port = 3000") && line.ends_with("# default"))
    );
}
