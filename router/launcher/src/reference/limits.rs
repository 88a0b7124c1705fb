//! `docs/limits.md`, generated from the router's table of limits and the launcher's flags.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::{Arg, Command, CommandFactory};
use text_generation_router::limits::LimitName;

use crate::args::Args;

const HEAD: &str = "\
# Limits

Generated from the table in `router/src/limits.rs` and the launcher's flags by `make docs`; change it
there.

Every limit that a client can meet. The metric `tgi_limit_hits` counts under the name of each how
often it was reached (see `docs/metrics.md`); the flags, their variables and ranges are in
`docs/configuration.md`. On `/v1` a 422 is a 400, as at OpenAI and Anthropic.

A stream of HTTP/2 with too large a header section is answered 431 without being counted. The router
raises its own limit on open files as far as the system lets it, and holds no more connections than
nine tenths of that.

| limit | bounds | flag | default | beyond it |
|---|---|---|---|---|
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    let command = Args::command();
    for limit in LimitName::ALL {
        let flags: Vec<_> = limit
            .flags()
            .iter()
            .map(|flag| of(&command, flag))
            .collect();
        let names: Vec<_> = limit
            .flags()
            .iter()
            .map(|flag| format!("`--{flag}`"))
            .collect();
        let defaults: Vec<_> = flags.iter().map(|flag| default(flag)).collect();
        writeln!(
            page,
            "| `{}` | {} | {} | {} | {} |",
            limit.name(),
            limit.meaning().trim_end_matches('.'),
            names.join(", "),
            defaults.join(", "),
            limit.answer(),
        )
        .expect("a string takes all");
    }
    page
}

/// The flag that a limit names.
fn of<'a>(command: &'a Command, name: &str) -> &'a Arg {
    let flag = command
        .get_arguments()
        .find(|flag| flag.get_long() == Some(name));
    flag.unwrap_or_else(|| panic!("there is no flag --{name}"))
}

fn default(flag: &Arg) -> String {
    let values = flag.get_default_values();
    match values.first() {
        Some(value) => value.to_string_lossy().into_owned(),
        None => "what model and memory allow".to_owned(),
    }
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/limits.md")
}

#[test]
fn the_limits_page_is_current() {
    let written = std::fs::read_to_string(path()).expect("the page is committed");
    assert_eq!(written, page(), "the limits changed: run `make docs`");
}

#[test]
#[ignore = "run by `make docs`: writes the page"]
fn write_the_limits_page() {
    std::fs::write(path(), page()).expect("the folder exists");
}
