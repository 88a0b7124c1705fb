use serde_json::{Value, json};

use super::*;
use crate::api::types::chat::ChatRequest;
use crate::api::types::completion::CompletionRequest;
use crate::api::types::native::Parameters;
use crate::config::Limits;

mod fit;
mod native;
mod openai;

const EOS: &[u32] = &[2, 7];
const ROOM: Room<'static> = Room {
    watermark: Watermark {
        gamma: 0.5,
        delta: 2.0,
    },
    max_input_tokens: 100,
    max_total_tokens: 120,
    eos_token_ids: EOS,
};

fn native_plan(parameters: Value) -> Result<Plan, String> {
    let parameters: Parameters = serde_json::from_value(parameters).unwrap();
    native(&parameters, Delivery::Whole, &Limits::default()).map_err(|error| error.to_string())
}

fn chat_plan(mut request: Value) -> Result<Plan, String> {
    request["messages"] = json!([]);
    let request: ChatRequest = serde_json::from_value(request).unwrap();
    chat(&request, &Limits::default()).map_err(|error| error.to_string())
}

fn completion_plan(mut request: Value, prompts: usize) -> Result<Plan, String> {
    request["prompt"] = json!("x");
    let request: CompletionRequest = serde_json::from_value(request).unwrap();
    completion(&request, prompts, &Limits::default()).map_err(|error| error.to_string())
}

fn fit(parameters: Value, prompt: usize) -> Result<ValidRequest, String> {
    let plan = native_plan(parameters).unwrap();
    plan.fit((0..prompt as u32).collect(), (5, 1), ROOM)
        .map_err(|error| error.to_string())
}
