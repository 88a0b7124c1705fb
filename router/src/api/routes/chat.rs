//! `POST /v1/chat/completions`: the assistant's next message.

use axum::Json as JsonResponse;
use axum::extract::State;
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use futures::future::try_join_all;

use crate::api::answer::{self, Answer, Completed, Part, TextToken};
use crate::api::extract::Json;
use crate::api::openai::{self, Envelope, UsageCounter};
use crate::api::sse::{self, Encode, Frames};
use crate::api::stop::StopText;
use crate::api::template::Message;
use crate::api::timing::Clock;
use crate::api::tokenizer::Specials;
use crate::api::types::chat::{
    AssistantMessage, ChatChoice, ChatChunk, ChatCompletion, ChatLogprob, ChatLogprobs,
    ChatMessage, ChatRequest, ChunkChoice, Content, Delta, TopLogprob,
};
use crate::api::types::openai::{FinishReason, Usage};
use crate::api::validate;
use crate::app::AppState;
use crate::config::Limits;
use crate::error::ApiError;
use crate::generation::Progress;
use crate::model::Model;

/// Continues a conversation.
///
/// # Errors
/// When the request breaks a rule, the template refuses the messages, the queue refuses the
/// request, or the generation fails; errors of a stream are its last event.
#[utoipa::path(
    post, path = "/v1/chat/completions", tag = "openai", request_body = ChatRequest,
    responses(
        (status = 200, content((ChatCompletion = "application/json"), (ChatChunk = "text/event-stream"))),
        (status = "default", description = "See the error table"),
    )
)]
pub async fn chat_completions(
    State(state): State<AppState>,
    Json(request): Json<ChatRequest>,
) -> Result<Response, ApiError> {
    let clock = Clock::start();
    let model = state.model_named(request.model.as_deref())?;
    let plan = validate::chat(&request, state.limits())?;
    let text = render(&model, request.messages, state.limits())?;
    let characters = text.chars().count();
    let prompt = model.tokenizer.encode(text, Specials::Omit).await?;
    let clock = clock.validated(characters);
    let answers = answer::start(&model, &plan, &prompt, StopText::Drop).await?;
    let envelope = Envelope::new("chatcmpl", &model);
    let logprobs = request.logprobs.unwrap_or(false);
    if request.stream.unwrap_or(false) {
        let options = request.stream_options.unwrap_or_default();
        let include_usage = options.include_usage.unwrap_or(false);
        let encoder = ChunkEncoder::new(envelope, answers.len(), logprobs, include_usage);
        let headers = clock.stream_headers(&model.info.device);
        return Ok((headers, sse::respond(answers, encoder)).into_response());
    }
    let answers = try_join_all(answers.into_iter().map(Answer::collect)).await?;
    let headers = clock.headers(&model.info.device, &answers);
    Ok((headers, JsonResponse(response(envelope, answers, logprobs))).into_response())
}

/// The conversation as text.
pub(super) fn render(
    model: &Model,
    messages: Vec<ChatMessage>,
    limits: &Limits,
) -> Result<String, ApiError> {
    let (count, most) = (messages.len(), limits.max_messages);
    if count == 0 || count > most {
        let message = format!("messages must have 1 to {most} entries, got {count}");
        return Err(validate::invalid("messages", message));
    }
    let messages = messages
        .into_iter()
        .map(message)
        .collect::<Result<Vec<_>, _>>()?;
    let template = model.template.as_ref().ok_or_else(|| {
        let reason = "the model has no chat template; use /v1/completions or /generate";
        ApiError::TemplateError(reason.to_owned())
    })?;
    Ok(template.render(&messages, &[])?)
}

fn message(sent: ChatMessage) -> Result<Message, ApiError> {
    let content = match sent.content {
        None => None,
        Some(Content::Text(text)) => Some(text),
        Some(Content::Parts(parts)) => {
            let texts = parts
                .into_iter()
                .map(|part| match (part.r#type.as_str(), part.text) {
                    ("text", Some(text)) => Ok(text),
                    (kind, _) => {
                        let message = format!(
                            "content parts must have type \"text\" and a text, got {kind:?}"
                        );
                        Err(validate::invalid("messages", message))
                    }
                });
            Some(texts.collect::<Result<String, _>>()?)
        }
    };
    Ok(Message {
        role: sent.role,
        content,
        name: sent.name,
        tool_calls: sent.tool_calls,
        tool_call_id: sent.tool_call_id,
    })
}

fn response(envelope: Envelope, answers: Vec<Completed>, logprobs: bool) -> ChatCompletion {
    let answers_per_prompt = answers.len();
    ChatCompletion {
        id: envelope.id,
        object: "chat.completion",
        created: envelope.created,
        model: envelope.model,
        system_fingerprint: envelope.system_fingerprint,
        usage: UsageCounter::of(&answers, answers_per_prompt),
        choices: (0..)
            .zip(answers)
            .map(|(index, answer)| choice(index, answer, logprobs))
            .collect(),
    }
}

fn choice(index: u32, answer: Completed, logprobs: bool) -> ChatChoice {
    ChatChoice {
        index,
        logprobs: logprobs.then(|| chat_logprobs(&answer.tokens)),
        finish_reason: answer.outcome.reason.into(),
        message: AssistantMessage {
            role: "assistant",
            content: answer.outcome.text,
        },
    }
}

fn chat_logprobs(tokens: &[TextToken]) -> ChatLogprobs {
    let content = tokens.iter().map(|token| ChatLogprob {
        token: token.text.clone(),
        logprob: token.logprob,
        bytes: token.text.clone().into_bytes(),
        top_logprobs: token
            .top
            .iter()
            .map(|top| TopLogprob {
                token: top.text.clone(),
                logprob: top.logprob,
                bytes: top.text.clone().into_bytes(),
            })
            .collect(),
    });
    ChatLogprobs {
        content: content.collect(),
    }
}

/// Chunks: the role, the text piece by piece, the reason for the end; then the token counts.
struct ChunkEncoder {
    envelope: Envelope,
    answers: usize,
    logprobs: bool,
    usage: UsageCounter,
    include_usage: bool,
}

impl ChunkEncoder {
    fn new(envelope: Envelope, answers: usize, logprobs: bool, include_usage: bool) -> Self {
        Self {
            envelope,
            answers,
            logprobs,
            usage: UsageCounter::new(answers),
            include_usage,
        }
    }

    fn chunk(&self, choices: Vec<ChunkChoice>, usage: Option<Usage>) -> Event {
        let envelope = self.envelope.clone();
        sse::json(&ChatChunk {
            id: envelope.id,
            object: "chat.completion.chunk",
            created: envelope.created,
            model: envelope.model,
            system_fingerprint: envelope.system_fingerprint,
            choices,
            usage,
        })
    }

    fn delta(&self, index: usize, role: &'static str, content: String) -> Event {
        let delta = Delta {
            role,
            content: Some(content),
            tool_calls: None,
        };
        self.chunk(vec![chunk_choice(index, delta, None, None)], None)
    }

    fn token(&self, index: usize, token: TextToken) -> Event {
        let logprobs = self
            .logprobs
            .then(|| chat_logprobs(std::slice::from_ref(&token)));
        let delta = Delta {
            role: "",
            content: Some(token.delta),
            tool_calls: None,
        };
        self.chunk(vec![chunk_choice(index, delta, logprobs, None)], None)
    }
}

fn chunk_choice(
    index: usize,
    delta: Delta,
    logprobs: Option<ChatLogprobs>,
    finish_reason: Option<FinishReason>,
) -> ChunkChoice {
    let index = u32::try_from(index).expect("choices are bounded by the client batch size");
    ChunkChoice {
        index,
        delta,
        logprobs,
        finish_reason,
    }
}

impl Encode for ChunkEncoder {
    fn progress(&mut self, _index: usize, progress: Progress, frames: &mut Frames) {
        let object = "chat.completion.chunk";
        frames.push_back(openai::progress(&self.envelope, object, progress));
    }

    fn begin(&mut self, frames: &mut Frames) {
        frames.extend((0..self.answers).map(|index| self.delta(index, "assistant", String::new())));
    }

    fn part(&mut self, index: usize, part: Part, frames: &mut Frames) -> Result<(), ApiError> {
        match part {
            // Held back or inside a character: nothing to tell yet.
            Part::Token(token) if token.delta.is_empty() && !self.logprobs => {}
            Part::Token(token) => frames.push_back(self.token(index, token)),
            Part::End(mut outcome) => {
                self.usage.add(index, &outcome);
                let rest = std::mem::take(&mut outcome.rest);
                if !rest.is_empty() {
                    frames.push_back(self.delta(index, "", rest));
                }
                let reason = Some(outcome.reason.into());
                let last = chunk_choice(index, Delta::default(), None, reason);
                frames.push_back(self.chunk(vec![last], None));
            }
        }
        Ok(())
    }

    fn error(&self, error: &ApiError) -> Event {
        openai::error(error)
    }

    fn finish(&mut self, frames: &mut Frames) {
        if self.include_usage {
            frames.push_back(self.chunk(vec![], Some(self.usage.usage())));
        }
        frames.push_back(openai::done());
    }
}
