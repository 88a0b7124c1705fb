//! Products of activations with packed weights: y[M, N] = x[M, K] · w[N, K]ᵀ.
//!
//! Weights are packed once ([`Packing`]) into panels of 32 outputs that a product reads from front
//! to back; activations are packed before each product ([`Activations`]). The caller's threads
//! split the panels, and the rows when packing.
//!
//! A row's result is the same to the bit for every number of rows and every split: each output has
//! accumulators of its own, which take the inputs in ascending order, and no scale spans rows.
//!
//! Letters: M rows (tokens), N outputs, K inputs; a *chunk* is 32 inputs, a *tile* the weights of a
//! panel for one chunk, a *block* the rows whose accumulators fit the registers.

mod activations;
mod arena;
mod codes;
mod layout;
mod matrix;
mod multiply;
mod output;
mod pack;
mod product;
mod source;
#[cfg(test)]
mod tests;

pub use activations::Activations;
pub use arena::Arena;
pub use layout::{ActivationFormat, WeightKind};
pub use matrix::{Arrangement, Matrix, packed_bytes};
pub use multiply::multiply;
pub use output::{Activation, Join, Output};
pub use pack::{PackError, Packing, QuantizeError, quantize};
pub use source::{Source, SourceError, SourceKind};
