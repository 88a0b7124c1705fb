//! Who computes what in a step.
//!
//! A *tile* is query rows that read the same keys through the same table: the heads that share a
//! key-value head, of one position or several, of one sequence or several. Its rows fall into
//! *chains*, one for each sequence and key-value head: the blocks a chain is folded over. The tiles
//! stand in one line, and each thread takes a stretch of it, the *pieces*; a border falls between
//! tiles or between two blocks of one.
//!
//! A chain in one piece is finished by its thread. Of a chain in several, the first piece leaves one
//! partial, the others leave one for each block, and all are folded in block order afterwards.

mod share;
mod split;
mod tiles;

use std::ops::Range;

use super::error::PlanError;
use super::{BLOCK, BLOCK_PAGES, PAGE_TOKENS, TILE_ROWS};

/// New tokens of one sequence in a step.
#[derive(Debug, Clone, Copy)]
pub struct SequenceRows<'a> {
    /// Row of the first one among the step's.
    pub first_row: usize,
    /// How many there are.
    pub num_rows: usize,
    /// Tokens before the first one: its position.
    pub context: usize,
    /// Pages of all tokens, in order. Those that lie wholly before the window are not looked at.
    pub pages: &'a [i32],
}

/// What a plan is made for beside the sequences.
#[derive(Debug, Clone, Copy)]
pub struct PlanShape {
    /// Query heads.
    pub num_heads: usize,
    /// Key-value heads; query head h reads key-value head h / (`num_heads` / `num_kv_heads`).
    pub num_kv_heads: usize,
    /// Pages of the pool.
    pub num_pages: usize,
    /// A token sees itself and `window` - 1 tokens before it; all of them without.
    pub window: Option<usize>,
    /// Threads that share the work.
    pub num_threads: usize,
    /// Whether sequences that begin with the same pages read them together. Changes no result.
    pub sharing: bool,
}

/// The work of a step in every layer with the same window.
#[derive(Debug)]
pub struct AttentionPlan {
    pub(super) shape: PlanShape,
    /// Page ids, checked, a stretch for each sequence.
    tables: Vec<u32>,
    members: Vec<Member>,
    tiles: Vec<Tile>,
    chains: Vec<Chain>,
    /// Pieces of all threads, and where each thread's begin.
    pieces: Vec<Piece>,
    starts: Vec<usize>,
    num_slots: usize,
}

/// Rows that read the same keys.
#[derive(Debug)]
pub(super) struct Tile {
    pub(super) kv_head: usize,
    members: Range<usize>,
    /// Where the table begins in `tables`.
    table: usize,
    /// Keys that some row sees in the tile's blocks.
    pub(super) keys: Range<usize>,
    pub(super) num_rows: usize,
}

/// Positions of one sequence in a tile.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    pub(super) first_row: usize,
    pub(super) first_position: usize,
    pub(super) num_positions: usize,
    pub(super) chain: usize,
}

/// The blocks that rows of one sequence and key-value head are folded over.
#[derive(Debug, Clone)]
pub(super) struct Chain {
    pub(super) member: Member,
    pub(super) kv_head: usize,
    pub(super) num_rows: usize,
    pub(super) blocks: Range<usize>,
    /// Blocks up to here are in the first piece.
    pub(super) first_end: usize,
    /// First of its stored partials, unless one piece is all.
    pub(super) slots: Option<usize>,
}

/// Blocks of a tile that one thread computes.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) tile: usize,
    pub(super) blocks: Range<usize>,
}

impl AttentionPlan {
    /// # Errors
    /// When heads do not divide, a table is short or names a page that is not there.
    pub fn new(sequences: &[SequenceRows<'_>], shape: PlanShape) -> Result<Self, PlanError> {
        check(&shape)?;
        let mut plan = Self {
            shape,
            tables: Vec::new(),
            members: Vec::new(),
            tiles: Vec::new(),
            chains: Vec::new(),
            pieces: Vec::new(),
            starts: Vec::new(),
            num_slots: 0,
        };
        plan.add_tiles(sequences)?;
        plan.split();
        Ok(plan)
    }

    /// Threads that it is for.
    #[must_use]
    pub fn num_threads(&self) -> usize {
        self.shape.num_threads
    }

    /// Whether something is left to fold after all threads have attended. If not,
    /// [`fold`](super::LayerAttention::fold) and the wait before it can be left out.
    #[must_use]
    pub fn needs_fold(&self) -> bool {
        self.num_slots > 0
    }

    /// Partials that are stored.
    pub(super) fn num_slots(&self) -> usize {
        self.num_slots
    }

    /// Query heads that share a key-value head.
    pub(super) fn group(&self) -> usize {
        self.shape.num_heads / self.shape.num_kv_heads
    }

    pub(super) fn pieces(&self, thread: usize) -> &[Piece] {
        &self.pieces[self.starts[thread]..self.starts[thread + 1]]
    }

    pub(super) fn tile(&self, tile: usize) -> &Tile {
        &self.tiles[tile]
    }

    pub(super) fn members(&self, tile: &Tile) -> &[Member] {
        &self.members[tile.members.clone()]
    }

    /// Page ids of a tile's sequence from its first token on; more follow that are others'.
    pub(super) fn table(&self, tile: &Tile) -> &[u32] {
        &self.tables[tile.table..]
    }

    pub(super) fn chain(&self, member: &Member) -> &Chain {
        &self.chains[member.chain]
    }

    /// Chains in several pieces.
    pub(super) fn cut_chains(&self) -> impl Iterator<Item = &Chain> {
        self.chains.iter().filter(|chain| chain.slots.is_some())
    }

    /// Keys that a position sees.
    pub(super) fn visible(&self, position: usize) -> Range<usize> {
        let window = self.shape.window.unwrap_or(usize::MAX);
        (position + 1).saturating_sub(window)..position + 1
    }
}

impl Chain {
    /// Partials that are stored when it is cut: the first piece's and one for each later block.
    pub(super) fn num_slots(&self) -> usize {
        1 + self.blocks.end - self.first_end
    }

    /// Blocks that stored partial `slot` covers.
    pub(super) fn slot_blocks(&self, slot: usize) -> Range<usize> {
        match slot {
            0 => self.blocks.start..self.first_end,
            _ => self.first_end + slot - 1..self.first_end + slot,
        }
    }
}

fn check(shape: &PlanShape) -> Result<(), PlanError> {
    let (heads, kv_heads) = (shape.num_heads, shape.num_kv_heads);
    if heads == 0
        || kv_heads == 0
        || !heads.is_multiple_of(kv_heads)
        || heads / kv_heads > TILE_ROWS
    {
        return Err(PlanError::Heads { heads, kv_heads });
    }
    if shape.window == Some(0) {
        return Err(PlanError::EmptyWindow);
    }
    if shape.num_threads == 0 {
        return Err(PlanError::NoThreads);
    }
    Ok(())
}

/// The blocks that hold some of `keys`.
fn blocks(keys: &Range<usize>) -> Range<usize> {
    keys.start / BLOCK..keys.end.div_ceil(BLOCK)
}
