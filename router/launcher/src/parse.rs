//! From argv and environment to [`Args`], with every mistake instead of the first.
//!
//! clap stops at the first value it cannot read. Each such flag is taken out of its sight, so that
//! it reads on with that flag's default, and the mistake is kept.

use std::collections::HashMap;
use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches};

use crate::args::Args;
use crate::ranges;
use crate::resolve::Mistakes;

#[cfg(test)]
mod tests;

/// The arguments, what is wrong with them so far, and where each came from.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// What was typed; a flag with a mistake has its default.
    pub args: Args,
    pub(crate) mistakes: Mistakes,
    /// Where it came from.
    pub origins: Origins,
}

/// Why there are no arguments.
#[derive(Debug)]
pub enum Stop {
    /// Help or the version was asked for: the text.
    Asked(clap::Error),
    /// Nothing can be read on.
    Mistakes(Mistakes),
}

/// Where a flag got its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Not given.
    Default,
    /// By this flag.
    Flag(String),
    /// By this environment variable.
    Variable(String),
}

/// Where flags got their values, by the name of their field in the arguments.
pub type Origins = HashMap<String, Origin>;

/// Reads argv, its program's name included, and the environment.
///
/// # Errors
/// [`Stop`]; all other mistakes are in what is returned.
pub fn parse<T: Into<OsString>>(argv: impl IntoIterator<Item = T>) -> Result<Parsed, Stop> {
    let argv: Vec<OsString> = argv.into_iter().map(Into::into).collect();
    let (mut command, mut mistakes) = (Args::command(), Mistakes::default());
    let matches = loop {
        let error = match command.clone().try_get_matches_from(&argv) {
            Ok(matches) => break matches,
            Err(error) if !error.use_stderr() => return Err(Stop::Asked(error)),
            Err(error) => error,
        };
        mistakes.add(one_line(&error));
        match without_culprit(command, &error) {
            Some(rest) => command = rest,
            None => return Err(Stop::Mistakes(mistakes)),
        }
    };
    ranges::check(&matches, &mut mistakes);
    let args = Args::from_arg_matches(&matches).map_err(Stop::Asked)?;
    let origins = origins(&command, &matches);
    Ok(Parsed {
        args,
        mistakes,
        origins,
    })
}

/// clap's message without the usage that it repeats below.
fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let lines = text.trim_start_matches("error: ").lines().map(str::trim);
    let told = lines.take_while(|line| {
        !line.starts_with("Usage:") && !line.starts_with("For more information")
    });
    let told: Vec<_> = told.filter(|line| !line.is_empty()).collect();
    told.join(" ")
}

/// The command in which another argument takes what the error complains about.
fn without_culprit(command: Command, error: &clap::Error) -> Option<Command> {
    let culprit = match error.get(ContextKind::InvalidArg)? {
        ContextValue::String(shown) => shown,
        ContextValue::Strings(all) => all.first()?,
        _ => return None,
    };
    // As clap shows it: `--port <PORT>`.
    let shown = culprit.split([' ', '=']).next()?;
    let swallow = Arg::new(format!("wrong {shown}"))
        .hide(true)
        .num_args(0..)
        .action(ArgAction::Append);
    let Some(long) = shown.strip_prefix("--") else {
        let short = shown.strip_prefix('-').and_then(|name| name.chars().next());
        return is_new(&command, &swallow).then(|| match short {
            Some(short) => command.arg(swallow.num_args(0..=1).short(short)),
            None => command.arg(swallow),
        });
    };
    let swallow = swallow.num_args(0..=1).long(long.to_owned());
    if error.kind() == ErrorKind::UnknownArgument {
        return is_new(&command, &swallow).then(|| command.arg(swallow));
    }
    let has_name = |arg: &&Arg| arg.get_long() == Some(long);
    let known = command.get_arguments().find(has_name)?.clone();
    let unseen = format!("without {long}");
    let swallow = match known.get_short() {
        Some(short) => swallow.short(short),
        None => swallow,
    };
    let command = command.mut_arg(known.get_id(), |arg| {
        arg.long(unseen).short(None).env(None::<&str>).hide(true)
    });
    Some(command.arg(swallow))
}

/// Whether the reading gets on: a culprit that was dealt with before stops it.
fn is_new(command: &Command, swallow: &Arg) -> bool {
    command
        .get_arguments()
        .all(|arg| arg.get_id() != swallow.get_id())
}

fn origins(command: &Command, matches: &ArgMatches) -> Origins {
    let arguments = command.get_arguments();
    let origin = |arg: &Arg| {
        let id = arg.get_id().as_str();
        let origin = match matches.value_source(id) {
            Some(ValueSource::CommandLine) => Origin::Flag(format!("--{}", arg.get_long()?)),
            Some(ValueSource::EnvVariable) => {
                Origin::Variable(arg.get_env()?.to_string_lossy().into_owned())
            }
            _ => Origin::Default,
        };
        Some((id.to_owned(), origin))
    };
    arguments.filter_map(origin).collect()
}
