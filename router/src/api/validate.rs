//! From what a client sent to what the engine is asked, as pure functions: first everything that
//! can be decided without tokens (`native`, `chat`, `completion` make a [`Plan`]), then, with the
//! tokens of the prompt, whether it fits ([`Plan::fit`]).

use crate::api::conversation::Turn;
use crate::error::ApiError;
use crate::grammar::Grammar;
use crate::limits::LimitName;
use crate::request::{Sampling, ValidRequest, Watermark};

mod check;
mod grammar;
mod messages;
mod native;
mod openai;
mod responses;

pub use check::invalid;
pub use messages::message;
pub use native::native;
pub use openai::{chat, completion};
pub use responses::response;

use check::{at_most, one_end};

/// A request's decisions; lacks only the tokens of its prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// How tokens are drawn; the seed is 0 unless `seed` says otherwise.
    pub sampling: Sampling,
    /// The seed that the client chose.
    pub seed: Option<u64>,
    /// Most tokens to generate; `None` means what the context has room for.
    pub max_new_tokens: Option<u32>,
    /// How many of the prompt's last tokens to keep; `None` means all.
    pub truncate: Option<u32>,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// Most likely tokens to report at each position.
    pub top_n_tokens: u32,
    /// Added to the logits of some tokens.
    pub logit_bias: Vec<(u32, f32)>,
    /// Whether an end-of-text token does not end the answer.
    pub ignore_eos: bool,
    /// Answers to draw for each prompt, at least 1.
    pub answers: u32,
    /// Special tokens that are part of the answers' text.
    pub marks: Vec<u32>,
    /// What the answers must follow. [`crate::api::answer::start`] checks it.
    pub grammar: Option<Grammar>,
    /// Whether the prompt's log probabilities are reported; the whole prompt is then computed.
    pub prompt_logprobs: bool,
    /// Whether a stream tells how far a long prefill is.
    pub progress: bool,
    /// Whether the answers are marked as generated.
    pub watermark: bool,
    /// What the request's fields are called.
    pub names: Names,
}

/// The fields that [`Plan::fit`] complains about, as the request's dialect calls them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names {
    /// The prompt's.
    pub prompt: &'static str,
    /// That of the answer's length.
    pub length: &'static str,
}

impl Names {
    /// Those of the native routes.
    pub const NATIVE: Self = Self {
        prompt: "inputs",
        length: "max_new_tokens",
    };
}

/// What a model has room for.
#[derive(Debug, Clone, Copy)]
pub struct Room<'a> {
    /// Longest prompt, in tokens.
    pub max_input_tokens: u32,
    /// Longest prompt and answer together, in tokens.
    pub max_total_tokens: u32,
    /// The watermark of answers that shall have one.
    pub watermark: Watermark,
    /// Ids that end an answer.
    pub eos_token_ids: &'a [u32],
}

/// How an answer is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// When it is complete.
    Whole,
    /// Token by token.
    Stream,
}

impl Delivery {
    /// As the field `stream` says.
    #[must_use]
    pub fn of(stream: Option<bool>) -> Self {
        if stream == Some(true) {
            Self::Stream
        } else {
            Self::Whole
        }
    }
}

impl Default for Plan {
    /// One sampled answer from the model's own distribution.
    fn default() -> Self {
        Self {
            sampling: Sampling::default(),
            seed: None,
            max_new_tokens: None,
            truncate: None,
            stop: vec![],
            top_n_tokens: 0,
            logit_bias: vec![],
            ignore_eos: false,
            answers: 1,
            marks: vec![],
            grammar: None,
            prompt_logprobs: false,
            progress: false,
            watermark: false,
            names: Names::NATIVE,
        }
    }
}

impl Plan {
    /// For an answer of this turn; calls that are forced go before another form of the answer.
    ///
    /// # Errors
    /// When the tools' schemas are none, or the end of the answer is to be ignored that they fix.
    pub fn of_turn(mut self, turn: &Turn) -> Result<Self, ApiError> {
        if let Some(schema) = &turn.forced {
            self.grammar = Some(Grammar::json_schema("tools", schema)?);
        }
        one_end(self.ignore_eos, self.grammar.as_ref())?;
        self.marks.clone_from(&turn.marks);
        Ok(self)
    }

    /// Whether tokens are drawn at random.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.sampling.temperature > 0.0
    }

    /// Checks the biased tokens, of which a vocabulary of this size has to know all.
    ///
    /// # Errors
    /// When it does not.
    pub fn check_biases(&self, vocab_size: u32) -> Result<(), ApiError> {
        let mut biased = self.logit_bias.iter();
        let Some((id, _)) = biased.find(|(id, _)| *id >= vocab_size) else {
            return Ok(());
        };
        let message = format!("logit_bias: token ids must be below {vocab_size}, got {id}");
        Err(invalid("logit_bias", message))
    }

    /// The request for answer number `answer`, whose generator is keyed by `seed` and that number.
    ///
    /// # Errors
    /// When the prompt is empty, or does not fit together with the answer.
    pub fn fit(
        &self,
        mut tokens: Vec<u32>,
        (seed, answer): (u64, u32),
        room: Room<'_>,
    ) -> Result<ValidRequest, ApiError> {
        if let Some(keep) = self.truncate {
            at_most(
                LimitName::InputTokens,
                "truncate",
                keep,
                room.max_input_tokens,
            )?;
            tokens.drain(..tokens.len().saturating_sub(keep as usize));
        }
        let max_new_tokens = self
            .names
            .room_left(tokens.len(), self.max_new_tokens, room)?;
        let seed = if self.is_sampled() {
            seed.wrapping_add(u64::from(answer))
        } else {
            0
        };
        let stop_token_ids = if self.ignore_eos {
            vec![]
        } else {
            room.eos_token_ids.to_vec()
        };
        Ok(ValidRequest {
            tokens,
            max_new_tokens,
            sampling: Sampling {
                seed,
                watermark: self.watermark.then_some(room.watermark),
                ..self.sampling
            },
            stop_token_ids,
            top_n_tokens: self.top_n_tokens,
            logit_bias: self.logit_bias.clone(),
            grammar: self.grammar.clone(),
            prompt_logprobs: self.prompt_logprobs,
            progress: self.progress,
        })
    }
}

impl Names {
    /// Room for the answer to a prompt of `input` tokens, when `wanted` are asked for.
    fn room_left(self, input: usize, wanted: Option<u32>, room: Room<'_>) -> Result<u32, ApiError> {
        let Self { prompt, length } = self;
        let (longest, total) = (room.max_input_tokens, room.max_total_tokens);
        if input == 0 {
            let message = "the prompt has no tokens, it needs at least 1";
            return Err(invalid(prompt, message));
        }
        let fitting = u32::try_from(input)
            .ok()
            .filter(|&input| input <= longest && input < total);
        let Some(input) = fitting else {
            let limit = longest.min(total.saturating_sub(1));
            let way = match self {
                Self::NATIVE => "shorten it or set truncate",
                _ => "shorten it",
            };
            let message = format!("the prompt has {input} tokens, the limit is {limit}; {way}");
            return Err(ApiError::beyond(LimitName::InputTokens, prompt, message));
        };
        match wanted {
            None => Ok(total - input),
            Some(wanted) if wanted <= total - input => Ok(wanted),
            Some(wanted) => {
                let message = format!(
                    "prompt tokens + {length} must be at most {total}, got {input} + {wanted}; \
                     shorten the prompt or ask for fewer tokens"
                );
                Err(ApiError::beyond(LimitName::TotalTokens, length, message))
            }
        }
    }
}

#[cfg(test)]
mod tests;
