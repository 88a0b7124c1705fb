//! `--print-config`: every resolved value, and where it came from.

use std::any::TypeId;
use std::fmt::Write as _;
use std::io::{self, Write as _};

use clap::CommandFactory;
use serde_json::{Map, Value, json};
use text_generation_router::config::{Secret, ServeConfig};

use crate::args::Args;
use crate::parse::{Origin, Origins};

#[cfg(test)]
mod tests;

/// Fields of the configuration whose flags have other names.
const RENAMED: &[(&str, &[&str])] = &[
    ("grammar_support", &["disable_grammar_support"]),
    ("grammar_cache_bytes", &["grammar_cache"]),
    ("hub_cache", &["huggingface_hub_cache"]),
    ("kv_memory_bytes", &["kv_memory"]),
    (
        "max_input_tokens",
        &["max_input_tokens", "max_input_length"],
    ),
];

/// Fields that every start makes anew.
const COMPUTED: &[&str] = &["run_dir", "shard_address"];

/// Writes the configuration to standard output, for people or, with `json`, for programs.
///
/// # Errors
/// When standard output is closed.
pub fn print(config: &ServeConfig, origins: &Origins, json: bool) -> io::Result<()> {
    let values = with_sources(config, origins);
    let text = match json {
        true => format!("{:#}\n", Value::Object(values)),
        false => as_text(&values),
    };
    io::stdout().write_all(text.as_bytes())
}

/// Writes any report to standard output: `name = value` lines, or JSON.
///
/// # Errors
/// When standard output is closed.
pub fn print_report(report: Map<String, Value>, json: bool) -> io::Result<()> {
    let text = match json {
        true => format!("{:#}\n", Value::Object(report)),
        false => lines_of(&report),
    };
    io::stdout().write_all(text.as_bytes())
}

fn lines_of(report: &Map<String, Value>) -> String {
    let mut text = String::new();
    for (name, value) in report {
        if let Value::Object(inner) = value {
            for line in lines_of(inner).lines() {
                writeln!(text, "{name}.{line}").expect("a string takes all");
            }
            continue;
        }
        let shown = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        writeln!(text, "{name} = {shown}").expect("a string takes all");
    }
    text
}

/// The configuration's sections with `{"value", "source"}` in the place of each value.
fn with_sources(config: &ServeConfig, origins: &Origins) -> Map<String, Value> {
    let Ok(Value::Object(mut sections)) = serde_json::to_value(config) else {
        unreachable!("the configuration is plain data");
    };
    sections
        .values_mut()
        .for_each(|section| add_sources(section, origins));
    if let Some(router) = sections.get_mut("router").and_then(Value::as_object_mut) {
        router.extend(secrets(origins));
    }
    sections
}

fn add_sources(section: &mut Value, origins: &Origins) {
    for (field, value) in section.as_object_mut().into_iter().flatten() {
        if value.is_object() {
            add_sources(value, origins);
        } else {
            *value = json!({"source": source(field, origins), "value": value.take()});
        }
    }
}

/// The secrets by name: whether they are set, never what they are.
fn secrets(origins: &Origins) -> Map<String, Value> {
    let command = Args::command();
    let secrets = command
        .get_arguments()
        .filter(|arg| arg.get_value_parser().type_id() == TypeId::of::<Secret>());
    let masked = secrets.map(|arg| {
        let name = arg.get_id().as_str();
        let is_set = origins
            .get(name)
            .is_some_and(|origin| *origin != Origin::Default);
        let value = is_set.then_some("[secret]");
        (
            name.to_owned(),
            json!({"source": source(name, origins), "value": value}),
        )
    });
    masked.collect()
}

fn source(field: &str, origins: &Origins) -> String {
    if COMPUTED.contains(&field) {
        return "computed at each start".to_owned();
    }
    let renamed = RENAMED.iter().find(|(name, _)| *name == field);
    let flags = renamed.map_or_else(|| vec![field], |(_, flags)| flags.to_vec());
    let given = flags.iter().find_map(|flag| match origins.get(*flag)? {
        Origin::Default => None,
        Origin::Flag(flag) => Some(format!("flag {flag}")),
        Origin::Variable(name) => Some(format!("variable {name}")),
    });
    given.unwrap_or_else(|| "default".to_owned())
}

/// As lines `name = value  # source`, a heading before each section.
fn as_text(sections: &Map<String, Value>) -> String {
    let mut text = String::new();
    for (name, section) in sections {
        write_section(&mut text, name, section);
    }
    text
}

fn write_section(text: &mut String, name: &str, section: &Value) {
    let fields = || section.as_object().into_iter().flatten();
    let is_value = |field: &Value| field.get("source").is_some();
    writeln!(text, "[{name}]").expect("a string takes all");
    for (field, entry) in fields().filter(|(_, entry)| is_value(entry)) {
        let line = format!("{field} = {}", entry["value"]);
        let source = entry["source"].as_str().unwrap_or_default();
        writeln!(text, "{line:<44} # {source}").expect("a string takes all");
    }
    text.push('\n');
    for (field, inner) in fields().filter(|(_, entry)| !is_value(entry)) {
        write_section(text, &format!("{name}.{field}"), inner);
    }
}
