//! What is refused before any address is computed.

use super::TILE_ROWS;

/// A layout that the kernels do not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// The size of a head is 0 or too large.
    #[error("head size {0} is outside 1 to {max}: take the torch executor", max = super::layout::MAX_DIM)]
    HeadDim(usize),
    /// Layers, heads or bytes of a page are 0 or too many.
    #[error("{layers} layers with {heads} key-value heads make no page: each must be 1 to 65536")]
    Counts {
        /// Layers asked for.
        layers: usize,
        /// Key-value heads asked for.
        heads: usize,
    },
}

/// Sequences that no plan can be made for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Query heads are no multiple of key-value heads, or too many share one.
    #[error(
        "{heads} query heads over {kv_heads} key-value heads: must be a multiple, and at most \
         {TILE_ROWS} to one"
    )]
    Heads {
        /// Query heads.
        heads: usize,
        /// Key-value heads.
        kv_heads: usize,
    },
    /// The window shows no key.
    #[error("a window of 0 keys: must be at least 1")]
    EmptyWindow,
    /// There is nobody to do the work.
    #[error("0 threads: must be at least 1")]
    NoThreads,
    /// A table has too few pages.
    #[error("the sequence at row {row} has {pages} pages and needs {needed}")]
    ShortTable {
        /// First row of the sequence.
        row: usize,
        /// Pages of its table.
        pages: usize,
        /// Pages that its tokens fill.
        needed: usize,
    },
    /// A table names a page that the pool does not have.
    #[error("the sequence at row {row} names page {page}, and the pool has {pool}")]
    PageOutOfRange {
        /// First row of the sequence.
        row: usize,
        /// The page's id.
        page: i32,
        /// Pages of the pool.
        pool: usize,
    },
    /// More tokens than 32 bits count.
    #[error("the sequence at row {row} would have {tokens} tokens: at most {max}", max = i32::MAX)]
    TooLong {
        /// First row of the sequence.
        row: usize,
        /// Tokens with this step's.
        tokens: usize,
    },
}
