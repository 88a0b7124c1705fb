//! `docs/configuration.md`, generated from the flags so that the two cannot part.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::{Arg, CommandFactory};

use crate::args::Args;

const HEAD: &str = "\
# Configuration

Generated from the flags of `text-generation-launcher` by `make docs`; change it there.

Each flag can also be given as the environment variable beside it; the flag goes first. No flag is
needed: an absent limit is taken from the model and the machine. All mistakes are reported at once.

| exit code | meaning |
|---|---|
| 0 | stopped by SIGTERM or SIGINT after running requests had finished |
| 64 | a flag or a value is wrong |
| 69 | the address cannot be listened on, for example because the port is in use |
| 70 | a shard failed at its first start, or five times in ten minutes; or the router failed |
| 73 | no run directory can be made under `TMPDIR` |
| 75 | the model was not ready within `--startup-timeout` |
| 130 | a second signal stopped the server at once |
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    let mut heading = String::new();
    let command = Args::command();
    let shown = command.get_arguments().filter(|flag| !flag.is_hide_set());
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
    // The values of a switch say themselves what they are.
    if choices.len() > 2 {
        write!(help, ". One of `{}`", choices.join("`, `")).expect("a string takes all");
    }
    format!(
        "| `--{}` | {} | {} | {} |\n",
        flag.get_long().expect("every argument is a flag"),
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
