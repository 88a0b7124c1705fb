//! `docs/configuration.md`, generated from the flags so that the two cannot part.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::{Arg, CommandFactory};

use crate::args::Args;
use crate::error::EXIT_CODES;
use crate::ranges;
use crate::tgi::{HEADING, TABLE};

mod limits;

const HEAD: &str = "\
# Configuration

Generated from the flags of `text-generation-launcher` by `make docs`; change it there.

Each flag can also be given as the environment variable beside it; the flag goes first. No flag is
needed: an absent limit is taken from the model and the machine. All mistakes are reported at once.

| exit code | meaning |
|---|---|
";

const TGI_HEAD: &str = "
## TGI's flags without effect

Those of TGI that are not above. Given ones are named in one line at start; a refused one ends the
launch. `HF_TOKEN`, `HF_HUB_OFFLINE`, `HF_ENDPOINT` and the other variables of the Hugging Face
libraries work as they say.

| flag | variable | what becomes of it |
|---|---|---|
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    for (code, meaning) in EXIT_CODES {
        writeln!(page, "| {code} | {meaning} |").expect("a string takes all");
    }
    let mut heading = String::new();
    let command = Args::command();
    let shown = command.get_arguments().filter(|flag| !flag.is_hide_set());
    let shown = shown.filter(|flag| flag.get_help_heading() != Some(HEADING));
    for flag in shown.filter(|flag| flag.get_help_heading().is_some()) {
        let own = flag.get_help_heading().expect("filtered");
        if heading != own {
            own.clone_into(&mut heading);
            write!(
                page,
                "\n## {own}\n\n| flag | variable | default | meaning |\n|---|---|---|---|\n"
            )
            .expect("a string takes all");
        }
        page.push_str(&row(flag));
    }
    page.push_str(TGI_HEAD);
    for foreign in TABLE {
        let (flag, variable) = match foreign.has_flag() {
            true => (format!("`{}`", foreign.shown()), foreign.variable()),
            false => (String::new(), foreign.shown()),
        };
        let explanation = foreign.explanation();
        writeln!(page, "| {flag} | `{variable}` | {explanation} |").expect("a string takes all");
    }
    page
}

fn row(flag: &Arg) -> String {
    let code = |text: String| {
        if text.is_empty() {
            text
        } else {
            format!("`{text}`")
        }
    };
    let env = flag
        .get_env()
        .map(|name| name.to_string_lossy().into_owned());
    let defaults: Vec<_> = flag
        .get_default_values()
        .iter()
        .map(|v| v.to_string_lossy())
        .collect();
    let choices: Vec<_> = flag
        .get_possible_values()
        .iter()
        .map(|v| v.get_name().to_owned())
        .collect();
    let mut help = flag
        .get_long_help()
        .or(flag.get_help())
        .map(ToString::to_string)
        .unwrap_or_default();
    if let Some(range) = flag.get_long().and_then(ranges::of) {
        write!(help, ". {} to {}", range.start(), range.end()).expect("a string takes all");
    }
    // The values of a switch say themselves what they are.
    if choices.len() > 2 && choices[0] != "y" {
        write!(help, ". One of `{}`", choices.join("`, `")).expect("a string takes all");
    }
    let short = flag.get_short();
    format!(
        "| `--{}`{} | {} | {} | {} |\n",
        flag.get_long().expect("every argument is a flag"),
        short
            .map(|short| format!(" `-{short}`"))
            .unwrap_or_default(),
        code(env.unwrap_or_default()),
        code(defaults.join(",")),
        help.replace('\n', " ").replace('|', "\\|"),
    )
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md")
}

#[test]
fn the_configuration_page_is_current() {
    let written = std::fs::read_to_string(path()).expect("the page is committed");
    assert_eq!(written, page(), "the flags changed: run `make docs`");
}

#[test]
#[ignore = "run by `make docs`: writes the page"]
fn write_the_configuration_page() {
    std::fs::write(path(), page()).expect("the folder exists");
}
