//! `/info` and `/v1/models`.

use serde::Serialize;
use utoipa::ToSchema;

/// Facts about the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Info {
    /// The model, as the operator named it.
    pub model_id: String,
    /// Its revision, when known.
    pub model_sha: Option<String>,
    /// What the model is for.
    pub model_pipeline_tag: &'static str,
    /// Numeric type of the weights.
    pub model_dtype: String,
    /// Where it runs.
    pub model_device_type: String,
    /// Requests in the server at once.
    pub max_concurrent_requests: usize,
    /// Most answers drawn for one request.
    pub max_best_of: u32,
    /// Stop strings of one request.
    pub max_stop_sequences: usize,
    /// Longest prompt, in tokens.
    pub max_input_tokens: u32,
    /// Longest prompt and answer together, in tokens.
    pub max_total_tokens: u32,
    /// Threads that tokenize.
    pub validation_workers: usize,
    /// Prompts of one completion request.
    pub max_client_batch_size: usize,
    /// Name of the program.
    pub router: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The commit it was built of, where the build was told (`GIT_SHA`).
    pub sha: Option<&'static str>,
    /// The image it is in, where the build was told (`DOCKER_LABEL`).
    pub docker_label: Option<&'static str>,
}

/// The served models.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ModelList {
    /// "list".
    pub object: &'static str,
    /// One entry a model.
    pub data: Vec<ModelEntry>,
}

/// A served model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ModelEntry {
    /// The name to ask for.
    pub id: String,
    /// "model".
    pub object: &'static str,
    /// When the server loaded it, in seconds since 1970.
    pub created: u64,
    /// The model, as the operator named it.
    pub owned_by: String,
}
