//! Chat templates: a conversation as the text the model was trained on.
//!
//! Templates come with models and are written for Hugging Face's Jinja2 set-up, which this module
//! reproduces: its block trimming, `raise_exception`, `strftime_now`, plain `tojson`, Python string
//! methods and `{% generation %}` marks. A render may use a bounded amount of fuel.

use std::io;

use jiff::Zoned;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde};
use minijinja::{Environment, Error, ErrorKind, Value, context};
use serde::Serialize;
use serde_json::Map;
use serde_json::ser::{Formatter, PrettyFormatter};

use crate::api::conversation::{Ending, ToolFormat};
use crate::config::Limits;
use crate::limits::LimitName;

/// Marks the end of a message that the model is to continue; cut off after rendering.
const CONTINUE_TAG: &str = "[[continue-final-message]]";

const NAME: &str = "chat";

/// The role that OpenAI's clients give to what others call the system.
const DEVELOPER: &str = "developer";

/// What no template says by itself.
const PROBE: &str = "[[a message of the system]]";

/// One message as templates see it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Message {
    /// "system", "user", "assistant", "tool" or what else the template knows.
    pub role: String,
    /// The text; `None` for assistant messages that only call tools.
    pub content: Option<String>,
    /// Name of the speaker or of the tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Calls an assistant made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<serde_json::Value>,
    /// The call that a tool's message answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
}

impl Message {
    /// A text.
    #[must_use]
    pub fn text(role: &str, text: &str) -> Self {
        Self {
            role: role.to_owned(),
            content: Some(text.to_owned()),
            name: None,
            tool_calls: None,
            tool_call_id: None,
        }
    }
}

/// A model's compiled template.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    /// Bytes that a conversation may become.
    most_bytes: usize,
    bos: String,
    eos: String,
    tool_format: Option<&'static ToolFormat>,
    /// Whether it has words of its own for the role "developer".
    knows_developer: bool,
    /// Whether it writes a message of the system.
    shows_system: bool,
}

/// The template does not compile, or does not accept the conversation.
#[derive(Debug, thiserror::Error)]
#[error("chat template: {reason}")]
pub struct TemplateError {
    reason: String,
    /// The limit that was reached, if one was.
    pub limit: Option<LimitName>,
}

impl From<String> for TemplateError {
    fn from(reason: String) -> Self {
        Self {
            reason,
            limit: None,
        }
    }
}

impl ChatTemplate {
    /// Compiles a template; `bos` and `eos` are the texts of these tokens. A render stays within the
    /// limits.
    ///
    /// # Errors
    /// When the source is no valid Jinja.
    pub fn new(
        source: &str,
        (bos, eos): (&str, &str),
        limits: &Limits,
    ) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build();
        environment.set_syntax(syntax.expect("the default delimiters are valid"));
        environment.set_fuel(Some(limits.max_template_fuel));
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment.add_filter("tojson", tojson);
        environment
            .add_template_owned(NAME, neutral_generation_blocks(source))
            .map_err(explain)?;
        let mut template = Self {
            tool_format: ToolFormat::of_template(source).filter(|_| reads_tools(&environment)),
            most_bytes: limits.max_template_bytes,
            environment,
            bos: bos.to_owned(),
            eos: eos.to_owned(),
            knows_developer: source.contains(DEVELOPER),
            shows_system: false,
        };
        let probe = [Message::text("system", PROBE), Message::text("user", "x")];
        let probed = template.render_all(&probe, &[], (true, &Map::new()));
        template.shows_system = probed.is_ok_and(|text| text.contains(PROBE));
        Ok(template)
    }

    /// How the model writes calls of tools, when the template tells it about them.
    #[must_use]
    pub fn tool_format(&self) -> Option<&'static ToolFormat> {
        self.tool_format
    }

    /// Whether the role is more than a word to it.
    #[must_use]
    pub fn knows_role(&self, role: &str) -> bool {
        role != DEVELOPER || self.knows_developer
    }

    /// Whether it writes a message of the system.
    #[must_use]
    pub fn shows_system(&self) -> bool {
        self.shows_system
    }

    /// The text of messages, and of tools for a template that knows them, with an ending and what
    /// else the template is told.
    ///
    /// # Errors
    /// When the template refuses the messages or takes too much work.
    pub fn render(
        &self,
        messages: &[Message],
        tools: &[serde_json::Value],
        (ending, variables): (Ending, &Map<String, serde_json::Value>),
    ) -> Result<String, TemplateError> {
        let last = messages.last();
        let open = match ending {
            Ending::Auto => last.filter(|message| message.role == "assistant"),
            Ending::Continue => last,
            Ending::Begin | Ending::Closed => None,
        };
        let Some(open) = open.and_then(marked) else {
            return self.render_all(messages, tools, (ending != Ending::Closed, variables));
        };
        let mut messages = messages.to_vec();
        *messages.last_mut().expect("it is marked") = open;
        let text = self.render_all(&messages, tools, (false, variables))?;
        let end = text.rfind(CONTINUE_TAG).ok_or_else(|| {
            let reason = "it does not write the last message, which is to be continued";
            TemplateError::from(reason.to_owned())
        })?;
        Ok(text[..end].to_owned())
    }

    fn render_all(
        &self,
        messages: &[Message],
        tools: &[serde_json::Value],
        (prompt, variables): (bool, &Map<String, serde_json::Value>),
    ) -> Result<String, TemplateError> {
        let tools = (!tools.is_empty()).then(|| Value::from(Serde(tools)));
        let template = self.environment.get_template(NAME).expect("new added it");
        let variables = context! {
            messages => Value::from(Serde(messages)),
            bos_token => &self.bos,
            eos_token => &self.eos,
            add_generation_prompt => prompt,
            tools => tools,
            ..Value::from(Serde(variables))
        };
        let mut text = Capped {
            text: Vec::new(),
            most: self.most_bytes,
        };
        match template.render_captured_to(variables, &mut text) {
            Ok(_) => Ok(String::from_utf8(text.text).expect("templates write text")),
            Err(error) if error.kind() == ErrorKind::WriteFailure => Err(TemplateError {
                reason: format!(
                    "the conversation as text has more than {} bytes, the limit; send less",
                    self.most_bytes
                ),
                limit: Some(LimitName::TemplateBytes),
            }),
            Err(error) => Err(explain(error)),
        }
    }
}

/// Whether the template looks at the tools that it is given.
fn reads_tools(environment: &Environment<'_>) -> bool {
    let template = environment.get_template(NAME).expect("new added it");
    template.undeclared_variables(false).contains("tools")
}

/// The message with a mark at its end, when it has a text.
fn marked(message: &Message) -> Option<Message> {
    let content = message.content.as_deref()?.trim_end();
    let marked = format!("{content}{CONTINUE_TAG}");
    (!content.is_empty()).then(|| Message {
        content: Some(marked),
        ..message.clone()
    })
}

/// The error's own words: a template's `raise_exception` text is meant for the client.
fn explain(error: Error) -> TemplateError {
    let detail = error
        .detail()
        .map_or_else(|| error.kind().to_string(), str::to_owned);
    TemplateError {
        reason: match error.line() {
            Some(line) => format!("{detail} (line {line})"),
            None => detail,
        },
        limit: (error.kind() == ErrorKind::OutOfFuel).then_some(LimitName::TemplateFuel),
    }
}

/// A text that grows up to a bound.
struct Capped {
    text: Vec<u8>,
    most: usize,
}

impl io::Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.most - self.text.len() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

fn strftime_now(format: String) -> Result<String, Error> {
    jiff::fmt::strtime::format(&format, &Zoned::now()).map_err(|error| {
        Error::new(
            ErrorKind::InvalidOperation,
            format!("strftime_now({format:?}): {error}"),
        )
    })
}

/// Python's `json.dumps`: minijinja's own filter escapes for HTML, which no model has seen.
fn tojson(value: Value, indent: Option<usize>, options: Kwargs) -> Result<Value, Error> {
    let indent = match indent {
        Some(indent) => Some(indent),
        None => options.get::<Option<usize>>("indent")?,
    };
    // Text is written as it is, which is what `ensure_ascii=False` asks for.
    if options.get::<Option<bool>>("ensure_ascii")? == Some(true) {
        let message = "tojson(ensure_ascii=true) is not supported";
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    options.assert_all_used()?;
    let json = match indent {
        Some(indent) => to_json(
            &value,
            PrettyFormatter::with_indent(" ".repeat(indent).as_bytes()),
        ),
        None => to_json(&value, SpacedFormatter),
    };
    json.map(Value::from)
        .map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))
}

fn to_json(value: &Value, formatter: impl Formatter) -> serde_json::Result<String> {
    let mut json = Vec::new();
    value.serialize(&mut serde_json::Serializer::with_formatter(
        &mut json, formatter,
    ))?;
    Ok(String::from_utf8(json).expect("serde_json writes UTF-8"))
}

/// One line with a blank after `,` and `:`.
struct SpacedFormatter;

impl Formatter for SpacedFormatter {
    fn begin_array_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
    ) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}

/// `{% generation %}` marks the assistant's words for training. Here it is a block that is always
/// taken, which keeps the tag's white-space control.
fn neutral_generation_blocks(source: &str) -> String {
    let mut parts = source.split("{%");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let tag = part.split("%}").next().unwrap_or_default();
        let word = tag.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        out.push_str("{%");
        match word {
            "generation" => out.push_str(&part.replacen(word, "if true", 1)),
            "endgeneration" => out.push_str(&part.replacen(word, "endif", 1)),
            _ => out.push_str(part),
        }
    }
    out
}

#[cfg(test)]
mod tests;
