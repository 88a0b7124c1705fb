//! What can go wrong with a decoder.

use super::plan::PlanError;
use crate::matmul::PackError;
use crate::sampler::SamplerError;
use crate::threads::TeamFailed;

/// Why a model cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A description that describes no decoder.
    #[error("the model's description: {0}")]
    Spec(String),
    /// Heads that the attention kernels do not have.
    #[error("the model's attention: {0}")]
    Attention(#[from] crate::attention::LayoutError),
    /// Heads that no step could be planned for.
    #[error("the model's attention: {0}")]
    Plan(#[from] crate::attention::PlanError),
    /// A tensor is not there.
    #[error("the tensor {0} is missing")]
    Missing(String),
    /// A tensor of another shape than the description says.
    #[error("the tensor {name} is {rows} x {cols}, expected {expected_rows} x {expected_cols}")]
    Shape {
        /// The tensor.
        name: String,
        /// Its rows.
        rows: usize,
        /// Its columns.
        cols: usize,
        /// What the description says.
        expected_rows: usize,
        /// What the description says.
        expected_cols: usize,
    },
    /// A vector with a value that is not finite.
    #[error("the tensor {0} has a value that is not finite")]
    NotFinite(String),
    /// Weights that cannot be packed.
    #[error("the weights {names}: {error}")]
    Pack {
        /// The tensors.
        names: String,
        /// Why.
        error: PackError,
    },
    /// A compute thread failed.
    #[error(transparent)]
    Team(#[from] TeamFailed),
    /// The system gives no threads.
    #[error("cannot start compute threads: {0}")]
    Threads(#[from] std::io::Error),
}

/// Why a step cannot be computed. A refused step has changed nothing; one that failed on a thread
/// has written pages in part.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// No pages to compute in yet.
    #[error("the decoder has no pages yet: bind it first")]
    Unbound,
    /// A plan that does not fit.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Attention that cannot be planned.
    #[error(transparent)]
    Attention(#[from] crate::attention::PlanError),
    /// Rows that cannot be drawn from.
    #[error(transparent)]
    Sampler(#[from] SamplerError),
    /// As many slots as rows are needed.
    #[error("{slots} sampler rows for {rows} rows of logits")]
    SampleRows {
        /// Sampler rows given.
        slots: usize,
        /// Rows of logits.
        rows: usize,
    },
    /// A compute thread failed.
    #[error(transparent)]
    Team(#[from] TeamFailed),
}
