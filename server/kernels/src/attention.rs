//! Attention over paged keys and values.
//!
//! The keys of a sequence fall into *blocks* of [`BLOCK`] at absolute positions. A query row and a
//! block give a *partial*: the largest score m, the weights' sum l in 16 lanes, and the weighted
//! values O, all from zero. Partials are folded from the left in block order. No accumulator spans
//! rows and none spans blocks, so a row's result is the same to the bit however rows are grouped
//! into tiles, blocks are spread over threads and tokens lie in pages.
//!
//! This is the split of flash-decoding (Dao et al., 2023) with borders that do not depend on the
//! work; the recurrence of partials is that of Milakov and Gimelshein, arXiv:1805.02867.
//!
//! Once a step one thread builds an [`AttentionPlan`]. In each layer all threads write keys and
//! values ([`write_kv`]), wait, attend ([`LayerAttention::attend`]), wait, and fold what a border
//! between threads cut ([`LayerAttention::fold`]).
//!
//! Letters: D head size, padded to 16; R rows of a register block; V vectors of 16 values.
#![expect(unsafe_code, reason = "reads and writes by address")]

mod ahead;
mod attend;
mod bf16;
mod block;
mod cells;
mod codes;
mod cut;
mod error;
mod fold;
mod int8;
mod layout;
mod plan;
mod registers;
mod rows;
mod scratch;
mod softmax;
#[cfg(test)]
mod tests;
mod write;

pub use attend::LayerAttention;
pub use error::{LayoutError, PlanError};
pub use layout::{KvKind, KvLayout, Pages};
pub use plan::{AttentionPlan, PlanShape, SequenceRows};
pub use rows::{Rows, RowsMut};
pub use scratch::Scratch;
pub use write::write_kv;

/// Tokens of a page.
pub const PAGE_TOKENS: usize = 32;

/// Keys of a block: what a partial covers, and what the work is split by.
pub const BLOCK: usize = 256;

/// Pages of a block.
const BLOCK_PAGES: usize = BLOCK / PAGE_TOKENS;

/// Query rows of a tile, at most. More would not fit the second-level cache beside a block.
const TILE_ROWS: usize = 48;
