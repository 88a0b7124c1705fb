//! From a chat request to its answers.

use crate::api::answer::{self, Answer};
use crate::api::chat::input;
use crate::api::conversation::Turn;
use crate::api::stop::StopText;
use crate::api::timing::Clock;
use crate::api::tokenizer::Specials;
use crate::api::types::chat::ChatRequest;
use crate::api::validate;
use crate::config::Limits;
use crate::error::ApiError;
use crate::model::Model;

/// A chat request that the queue took.
pub struct Job {
    /// One or, with `n`, several.
    pub answers: Vec<Answer>,
    /// How they are to be read.
    pub turn: Turn,
    /// When the request came in.
    pub clock: Clock,
}

/// Checks, renders, tokenizes and submits a request.
///
/// # Errors
/// When it breaks a rule, the template refuses the messages, or the queue refuses the request.
pub async fn submit(
    model: &Model,
    limits: &Limits,
    mut request: ChatRequest,
) -> Result<Job, ApiError> {
    let clock = Clock::start();
    let plan = validate::chat(&request, limits)?;
    let turn = input::conversation(&mut request)?.render(model, limits)?;
    let plan = plan.of_turn(&turn)?;
    let characters = turn.text.chars().count();
    let text = turn.text.clone();
    let prompt = model.tokenizer.encode(text, Specials::Omit).await?;
    let clock = clock.validated(characters);
    let answers = answer::start(model, &plan, &prompt, StopText::Drop).await?;
    Ok(Job {
        answers,
        turn,
        clock,
    })
}
