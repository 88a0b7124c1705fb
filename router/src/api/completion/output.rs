//! Answers as choices, with their log probabilities as parallel lists.

use serde_json::Value;

use crate::api::answer::{Completed, Outcome, TextToken, TopToken};
use crate::api::openai::{Envelope, UsageCounter};
use crate::api::prompt::PromptToken;
use crate::api::types::completion::{Completion, CompletionChoice, CompletionLogprobs};
use crate::api::types::openai::{FinishReason, Usage};

/// How the answers of a request are written.
#[derive(Debug)]
pub struct Format {
    /// What every object says.
    pub envelope: Envelope,
    /// Whether log probabilities are reported.
    pub logprobs: bool,
    /// Answers drawn for each prompt.
    pub drawn: usize,
    /// How many of them are told: the likeliest.
    pub told: usize,
    /// The prompts' texts, where answers begin with them.
    pub echo: Option<Vec<String>>,
    /// Whether the prompt is all that is wanted; the one token that is drawn all the same is not
    /// told.
    pub prompt_only: bool,
}

impl Format {
    /// The whole response.
    #[must_use]
    pub fn whole(&self, answers: Vec<Completed>) -> Completion {
        let usage = UsageCounter::of(&answers, self.drawn);
        let mut choices = Vec::with_capacity(answers.len());
        let mut answers = answers.into_iter();
        while answers.len() > 0 {
            let mut drawn: Vec<_> = answers.by_ref().take(self.drawn).collect();
            if self.told < self.drawn {
                drawn.sort_by(|a, b| b.mean_logprob().total_cmp(&a.mean_logprob()));
            }
            for answer in drawn.into_iter().take(self.told) {
                choices.push(self.choice(choices.len(), answer));
            }
        }
        self.completion(choices, Some(usage))
    }

    fn choice(&self, index: usize, answer: Completed) -> CompletionChoice {
        let prompt = self.prompt_text(index);
        let logprobs = self.logprobs.then(|| {
            let mut lists = prompt_logprobs(&answer.prompt);
            lists.extend(Place::after(prompt).lists(&answer.tokens));
            lists
        });
        let text = format!("{prompt}{}", answer.outcome.text);
        choice(index, text, logprobs, Some(answer.outcome.reason.into()))
    }

    /// What the text of choice number `index` begins with.
    #[must_use]
    pub fn prompt_text(&self, index: usize) -> &str {
        let prompts = self.echo.as_deref().unwrap_or_default();
        prompts.get(index / self.told).map_or("", String::as_str)
    }

    /// The answer as far as it is wanted.
    #[must_use]
    pub fn trim(&self, mut answer: Completed) -> Completed {
        if self.prompt_only {
            answer.tokens.clear();
        }
        answer.outcome = self.trim_outcome(answer.outcome);
        answer
    }

    /// The end of the answer as far as it is wanted.
    #[must_use]
    pub fn trim_outcome(&self, outcome: Outcome) -> Outcome {
        if !self.prompt_only {
            return outcome;
        }
        Outcome {
            reason: crate::generation::FinishReason::Length,
            text: String::new(),
            rest: String::new(),
            generated_tokens: 0,
            ..outcome
        }
    }

    /// An object of the response.
    #[must_use]
    pub fn completion(&self, choices: Vec<CompletionChoice>, usage: Option<Usage>) -> Completion {
        let envelope = self.envelope.clone();
        Completion {
            id: envelope.id,
            object: "text_completion",
            created: envelope.created,
            model: envelope.model,
            system_fingerprint: envelope.system_fingerprint,
            choices,
            usage,
        }
    }
}

/// One answer, or what is new of it.
#[must_use]
pub fn choice(
    index: usize,
    text: String,
    logprobs: Option<CompletionLogprobs>,
    finish_reason: Option<FinishReason>,
) -> CompletionChoice {
    let index = u32::try_from(index).expect("choices are bounded by the client batch size");
    CompletionChoice {
        index,
        text,
        logprobs,
        finish_reason,
    }
}

/// Where in a choice's text the next token's begins, in characters.
#[derive(Debug, Clone, Copy, Default)]
pub struct Place(usize);

impl Place {
    /// Behind a text.
    #[must_use]
    pub fn after(text: &str) -> Self {
        Self(text.chars().count())
    }

    /// Log probabilities of the tokens that come next.
    pub fn lists(&mut self, tokens: &[TextToken]) -> CompletionLogprobs {
        let mut lists = CompletionLogprobs::default();
        for token in tokens {
            lists.text_offset.push(self.0);
            self.0 += token.delta.chars().count();
            lists.tokens.push(token.text.clone());
            lists.token_logprobs.push(Some(token.logprob));
            lists.top_logprobs.push(Some(top(&token.top)));
        }
        lists
    }
}

/// Log probabilities of a prompt's tokens; the first one has none.
#[must_use]
pub fn prompt_logprobs(tokens: &[PromptToken]) -> CompletionLogprobs {
    let (mut lists, mut place) = (CompletionLogprobs::default(), 0);
    for token in tokens {
        lists.text_offset.push(place);
        if !token.special {
            place += token.text.chars().count();
        }
        lists.tokens.push(token.text.clone());
        lists.token_logprobs.push(token.logprob);
        let top = token.logprob.map(|_| top(&token.top));
        lists.top_logprobs.push(top);
    }
    lists
}

fn top(tokens: &[TopToken]) -> serde_json::Map<String, Value> {
    let entry = |top: &TopToken| (top.text.clone(), Value::from(top.logprob));
    tokens.iter().map(entry).collect()
}

impl CompletionLogprobs {
    fn extend(&mut self, more: Self) {
        self.tokens.extend(more.tokens);
        self.token_logprobs.extend(more.token_logprobs);
        self.top_logprobs.extend(more.top_logprobs);
        self.text_offset.extend(more.text_offset);
    }
}
