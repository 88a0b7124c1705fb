//! Every limit that a client can meet, in one table: how metrics call it, which flags set it, and
//! what answers a request beyond it.
//!
//! An error that comes of a limit names it ([`crate::error::ApiError::limit`]), so that all of them
//! are counted in one place. `docs/limits.md` is generated from the table (`make docs`).

/// Makes the enum and its table of one list.
macro_rules! limits {
    ($($(#[doc = $meaning:literal])+ $limit:ident = $name:literal, [$($flag:literal),*], $answer:literal;)*) => {
        /// A limit that a client can meet.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum LimitName {
            $($(#[doc = $meaning])+ $limit,)*
        }

        impl LimitName {
            /// All of them, by where a request meets them.
            pub const ALL: &[Self] = &[$(Self::$limit),*];

            /// Its name in the metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$limit => $name),* }
            }

            /// The flags of the launcher that set it, without dashes; none for a fixed one.
            #[must_use]
            pub const fn flags(self) -> &'static [&'static str] {
                match self { $(Self::$limit => &[$($flag),*]),* }
            }

            /// What becomes of a request beyond it.
            #[must_use]
            pub const fn answer(self) -> &'static str {
                match self { $(Self::$limit => $answer),* }
            }

            /// What it bounds.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$limit => concat!($($meaning),+).trim_ascii_start()),* }
            }
        }
    };
}

limits! {
    /// Open connections.
    Connections = "connections", ["max-connections"], "waits in the system's backlog";
    /// Bytes and lines of a request's header section.
    Headers = "headers", ["max-header-bytes", "max-headers"], "431";
    /// Time for a request's header section.
    HeaderTime = "header_time", ["header-timeout"], "the connection is closed";
    /// Bytes of one request body.
    Payload = "payload", ["payload-limit"], "413";
    /// Bytes of all request bodies that are being read.
    BodyBytes = "body_bytes", ["max-body-bytes-in-flight"], "429";
    /// Time for a request's body.
    BodyTime = "body_time", ["body-timeout"], "408";
    /// Bytes a second of a body that is being read, from its sixth second on.
    BodyRate = "body_rate", ["min-body-rate"], "408";
    /// Arrays and objects within each other in a body.
    JsonDepth = "json_depth", ["max-json-depth"], "422";
    /// Messages of one conversation.
    Messages = "messages", ["max-messages"], "422";
    /// Tools of one request.
    Tools = "tools", ["max-tools"], "422";
    /// Bytes of the names, descriptions and schemas of one request's tools.
    ToolBytes = "tool_bytes", ["max-tool-bytes"], "422";
    /// Prompts of one completion request.
    Prompts = "client_batch", ["max-client-batch-size"], "422";
    /// Answers to one prompt.
    Choices = "n", ["max-n"], "422";
    /// Answers drawn to choose from.
    BestOf = "best_of", ["max-best-of"], "422";
    /// Stop strings of one request.
    StopSequences = "stop_sequences", ["max-stop-sequences"], "422";
    /// Bytes of one stop string.
    StopBytes = "stop_bytes", ["max-stop-bytes"], "422";
    /// Most likely tokens reported at each position.
    TopTokens = "top_n_tokens", ["max-top-n-tokens"], "422";
    /// Tokens that one request may bias.
    LogitBiases = "logit_bias", ["max-logit-bias"], "422";
    /// Bytes of one schema, expression or grammar.
    GrammarBytes = "grammar_bytes", ["max-grammar-bytes"], "422";
    /// Time for making a parser of one.
    GrammarTime = "grammar_compile_time", ["max-grammar-compile-ms"], "422";
    /// Symbols in the productions of one.
    GrammarSize = "grammar_size", ["max-grammar-size"], "422";
    /// Work of building the lexer of one.
    GrammarFuel = "grammar_fuel", ["max-grammar-fuel"], "422";
    /// States of the lexer of one.
    GrammarStates = "grammar_lexer_states", ["max-grammar-lexer-states"], "422";
    /// Items of the parser of one for one token.
    GrammarStep = "grammar_step_items", ["max-grammar-step-items"], "422, or an error in the answer";
    /// Least common multiple of all `multipleOf` of a schema, 20,000.
    GrammarMultiples = "grammar_multiples", [], "422";
    /// Work of writing a conversation by the model's template.
    TemplateFuel = "template_fuel", ["max-template-fuel"], "422";
    /// Bytes that a conversation may become.
    TemplateBytes = "template_bytes", ["max-template-bytes"], "422";
    /// Time for tokenizing a prompt, 2 s.
    TokenizeTime = "tokenize_time", [], "422";
    /// Tokens of one prompt.
    InputTokens = "input_tokens", ["max-input-tokens"], "422";
    /// Tokens of prompt and answer together.
    TotalTokens = "total_tokens", ["max-total-tokens"], "422";
    /// Requests in the server.
    Requests = "requests", ["max-concurrent-requests"], "429";
    /// Prompt tokens in the queue.
    QueuedTokens = "queued_tokens", ["max-queued-tokens"], "429";
    /// Time in the queue.
    QueueTime = "queue_time", ["max-queue-seconds"], "429";
    /// Time of a request in all.
    RequestTime = "request_time", ["request-timeout"], "504";
    /// Time for which a client may be behind with reading its stream, and by how many events.
    SlowReader = "write_stall", ["write-stall-timeout", "max-unread-events"], "408, or the connection is closed";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_has_a_name_of_its_own_and_says_what_it_bounds() {
        for (at, limit) in LimitName::ALL.iter().enumerate() {
            let before = &LimitName::ALL[..at];
            assert!(before.iter().all(|other| other.name() != limit.name()));
            assert!(limit.meaning().ends_with('.'), "{}", limit.meaning());
        }
    }
}
