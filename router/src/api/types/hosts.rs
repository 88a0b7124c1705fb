//! `/invocations` and `/vertex`: how Amazon SageMaker and Google Vertex AI pass requests on.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::chat::ChatRequest;
use super::completion::CompletionRequest;
use super::native::GenerateRequest;

/// A request of any kind, told by its field `inputs`, `messages` or `prompt`.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(untagged, try_from = "Map<String, Value>")]
pub enum AnyRequest {
    /// With `inputs`: as on `/`.
    Generate(Box<GenerateRequest>),
    /// With `messages`: as on `/v1/chat/completions`.
    Chat(Box<ChatRequest>),
    /// With `prompt`: as on `/v1/completions`.
    Completion(Box<CompletionRequest>),
}

impl TryFrom<Map<String, Value>> for AnyRequest {
    type Error = String;

    fn try_from(request: Map<String, Value>) -> Result<Self, String> {
        let has = |field: &str| request.contains_key(field);
        let kind = if has("inputs") {
            |request| read(request).map(Self::Generate)
        } else if has("messages") {
            |request| read(request).map(Self::Chat)
        } else if has("prompt") {
            |request| read(request).map(Self::Completion)
        } else {
            return Err("a request needs inputs, messages or prompt".to_owned());
        };
        kind(Value::Object(request))
    }
}

/// Names the field at fault, as everywhere.
fn read<T: for<'a> Deserialize<'a>>(request: Value) -> Result<T, String> {
    serde_path_to_error::deserialize(request)
        .map_err(|error| format!("{}: {}", error.path(), error.inner()))
}

/// Several requests at once.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct VertexRequest {
    /// Requests with `inputs` or `messages`.
    pub instances: Vec<AnyRequest>,
}

/// Their answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct VertexResponse {
    /// One text a request, in their order.
    pub predictions: Vec<String>,
}
