//! TGI's flags and variables that change nothing here, or that cannot be honoured.
//!
//! One table parses them, tells the operator about those that are given, and documents them.

use std::ffi::OsString;

use clap::builder::FalseyValueParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches, value_parser};

/// Heading of these flags in `--help` and in the docs.
pub(crate) const HEADING: &str = "TGI's flags without effect";

/// A flag or variable of TGI.
#[derive(Debug)]
pub(crate) struct Foreign {
    /// The flag without dashes; a name in capitals is a variable without a flag.
    pub(crate) name: &'static str,
    kind: Kind,
    effect: Effect,
}

/// What its value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// True or false; given false it is as absent.
    Switch,
    Whole,
    Fraction,
    Text,
}

/// What becomes of it.
#[derive(Debug)]
enum Effect {
    /// It only tunes what is done otherwise here: the operator is told.
    None(&'static str),
    /// It asks for something that this server does not do.
    Refused(&'static str),
}

impl Foreign {
    /// Whether it has a flag, beside its variable.
    pub(crate) fn has_flag(&self) -> bool {
        !self
            .name
            .starts_with(|first: char| first.is_ascii_uppercase())
    }

    /// As the operator writes it.
    pub(crate) fn shown(&self) -> String {
        match self.has_flag() {
            true => format!("--{}", self.name),
            false => self.name.to_owned(),
        }
    }

    /// Its environment variable.
    pub(crate) fn variable(&self) -> String {
        self.name.replace('-', "_").to_uppercase()
    }

    /// What becomes of it, in words.
    pub(crate) fn explanation(&self) -> String {
        match self.effect {
            Effect::None(why) => format!("No effect: {why}"),
            Effect::Refused(why) => format!("Refused: {why}"),
        }
    }

    fn arg(&self) -> Arg {
        let arg = Arg::new(self.name)
            .long(self.name)
            .env(self.variable())
            .hide_env_values(true)
            .help_heading(HEADING)
            .hide_short_help(true)
            .help(self.explanation());
        match self.kind {
            Kind::Switch => arg
                .action(ArgAction::Set)
                .num_args(0..=1)
                .default_missing_value("true")
                .value_name("BOOL")
                .value_parser(FalseyValueParser::new()),
            Kind::Whole => arg.value_name("N").value_parser(value_parser!(u64)),
            Kind::Fraction => arg.value_name("X").value_parser(value_parser!(f64)),
            Kind::Text => arg.value_name("TEXT").value_parser(value_parser!(OsString)),
        }
    }

    /// Whether the operator asked for it, by flag or variable.
    fn is_given(&self, matches: &ArgMatches) -> bool {
        if !self.has_flag() {
            return variable(self.name).is_some_and(|value| !value.is_empty());
        }
        let is_set = matches
            .value_source(self.name)
            .is_some_and(|source| source != ValueSource::DefaultValue);
        is_set && (self.kind != Kind::Switch || matches.get_one(self.name) == Some(&true))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "part of the arguments: these variables have no flag that clap could read"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// What the operator gave of TGI's flags, as names of the table.
#[derive(Debug, Clone, Default)]
pub(crate) struct TgiArgs(Vec<&'static str>);

impl TgiArgs {
    /// One line on all that was given in vain; none where nothing was.
    pub(crate) fn notice(&self) -> Option<String> {
        let idle: Vec<_> = self
            .given()
            .filter_map(|foreign| match foreign.effect {
                Effect::None(why) => Some(format!("{} ({why})", foreign.shown())),
                Effect::Refused(_) => None,
            })
            .collect();
        (!idle.is_empty()).then(|| format!("accepted, without effect: {}", idle.join(", ")))
    }

    /// One mistake for each that cannot be honoured.
    pub(crate) fn mistakes(&self) -> impl Iterator<Item = String> {
        self.given().filter_map(|foreign| match foreign.effect {
            Effect::Refused(why) => Some(format!("{}: {why}", foreign.shown())),
            Effect::None(_) => None,
        })
    }

    fn given(&self) -> impl Iterator<Item = &'static Foreign> {
        TABLE
            .iter()
            .filter(|foreign| self.0.contains(&foreign.name))
    }
}

impl clap::Args for TgiArgs {
    fn augment_args(command: Command) -> Command {
        let flags = TABLE.iter().filter(|foreign| foreign.has_flag());
        command.args(flags.map(Foreign::arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for TgiArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = TABLE.iter().filter(|foreign| foreign.is_given(matches));
        Ok(Self(given.map(|foreign| foreign.name).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

const fn idle(name: &'static str, kind: Kind, why: &'static str) -> Foreign {
    Foreign {
        name,
        kind,
        effect: Effect::None(why),
    }
}

const fn refused(name: &'static str, kind: Kind, why: &'static str) -> Foreign {
    Foreign {
        name,
        kind,
        effect: Effect::Refused(why),
    }
}

const NO_CUDA: &str = "no executor runs on CUDA";
const OWN_ROPE: &str =
    "a model's own scaling is taken: set rope_scaling in the config.json of its folder";
const NO_TUNNEL: &str = "there is no tunnel: put a reverse proxy in front of the server";
const ONE_STEP: &str = "prompts are prefilled beside running answers in every step";

/// Every flag and variable of TGI that is not one of this server's own.
pub(crate) const TABLE: &[Foreign] = &[
    idle(
        "trust-remote-code",
        Kind::Switch,
        "no code of a model is ever run",
    ),
    idle(
        "speculate",
        Kind::Whole,
        "nothing is drafted, and drafts would change no answer",
    ),
    idle("cuda-graphs", Kind::Text, NO_CUDA),
    idle("cuda-memory-fraction", Kind::Fraction, NO_CUDA),
    idle(
        "disable-custom-kernels",
        Kind::Switch,
        "--executor chooses what computes",
    ),
    idle("waiting-served-ratio", Kind::Fraction, ONE_STEP),
    idle("max-waiting-tokens", Kind::Whole, ONE_STEP),
    idle(
        "enable-prefill-logprobs",
        Kind::Switch,
        "requests that ask for them always get them",
    ),
    idle(
        "shard-uds-path",
        Kind::Text,
        "the sockets are in a private folder under TMPDIR",
    ),
    idle("prometheus-port", Kind::Whole, "/metrics is on --port"),
    idle("usage-stats", Kind::Text, "no usage is ever sent anywhere"),
    idle(
        "max-image-fetch-size",
        Kind::Whole,
        "no image is ever fetched",
    ),
    idle("ngrok-authtoken", Kind::Text, NO_TUNNEL),
    idle("ngrok-edge", Kind::Text, NO_TUNNEL),
    refused("ngrok", Kind::Switch, NO_TUNNEL),
    refused(
        "lora-adapters",
        Kind::Text,
        "adapters are not served: merge them into a model folder and name it by --model-id",
    ),
    refused(
        "weights-cache-override",
        Kind::Text,
        "weights are read from one place: name their folder by --model-id",
    ),
    refused("rope-scaling", Kind::Text, OWN_ROPE),
    refused("rope-factor", Kind::Fraction, OWN_ROPE),
    idle(
        "HF_API_TOKEN",
        Kind::Text,
        "the hub's library reads HF_TOKEN",
    ),
    idle("ATTENTION", Kind::Text, "the executor has one attention"),
    idle(
        "PREFILL_CHUNKING",
        Kind::Text,
        "prompts are always prefilled in chunks",
    ),
    idle(
        "TGI_WIGGLE_ROOM",
        Kind::Text,
        "--kv-memory sets the memory of the cache",
    ),
    idle(
        "USE_FLASH_ATTENTION",
        Kind::Text,
        "the executor has one attention",
    ),
    idle("USE_CUTLASS_W8A8", Kind::Text, NO_CUDA),
    idle("HF_KERNELS_CACHE", Kind::Text, "no kernels are downloaded"),
    idle(
        "COMPUTE_TYPE",
        Kind::Text,
        "x-compute-type says what computed",
    ),
    idle("LOG_FORMAT", Kind::Text, "--json-output chooses the format"),
    idle("LOG_COLORIZE", Kind::Text, "only a terminal gets colours"),
];

#[cfg(test)]
mod tests;
