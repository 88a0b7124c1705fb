//! Attention of one layer.

use std::ops::Range;

use super::ahead::Ahead;
use super::bf16::Bf16;
use super::block::Block;
use super::cells::{Cells, SCORE_STRIDE, WEIGHT_STRIDE};
use super::cut::FoldCut;
use super::fold::{VALUES, finish, fold, partial_len};
use super::int8::Int8;
use super::layout::{KvKind, Pages};
use super::plan::{AttentionPlan, Member, Piece, Tile};
use super::registers;
use super::rows::{Rows, RowsMut};
use super::scratch::{Scratch, ThreadMemory};
use super::softmax::{Scaling, Valid, no_weights, softmax};
use super::{BLOCK, TILE_ROWS};
use crate::simd::{Isa, Kernel, Simd, tiles};

/// Attention of one layer in one step, the same for all threads.
#[derive(Debug, Clone, Copy)]
pub struct LayerAttention<'a> {
    /// The step's plan for this layer's window.
    pub plan: &'a AttentionPlan,
    /// The pool.
    pub pages: &'a Pages,
    /// Which layer.
    pub layer: usize,
    /// What products of query and key are multiplied with; above 0.
    pub scale: f32,
    /// The scaled score s becomes cap * tanh(s / cap).
    pub softcap: Option<f32>,
    /// Prepared for the plan.
    pub scratch: &'a Scratch,
}

impl LayerAttention<'_> {
    /// Computes one thread's part. Rows of `q` and `out` are `[T, num_heads * head_dim]`; the rotary
    /// embedding is applied to q, the scale is not.
    ///
    /// # Safety
    /// The threads of the plan call this with the same arguments, each with its own index, after
    /// all keys and values are written; nobody writes those, and nobody else touches `out` or the
    /// scratch. The instruction set is supported, the scratch was prepared for the plan, and the
    /// plan was made for these pages.
    ///
    /// # Panics
    /// When rows, heads or the layer are not there.
    pub unsafe fn attend(&self, isa: Isa, thread: usize, q: Rows<'_>, out: RowsMut<'_>) {
        let layout = self.pages.layout();
        assert!(
            self.layer < layout.num_layers(),
            "layer {} is not there",
            self.layer
        );
        assert_eq!(
            self.plan.shape.num_kv_heads,
            layout.num_kv_heads(),
            "key-value heads"
        );
        assert_eq!(
            self.plan.shape.num_pages,
            self.pages.count(),
            "pages of the plan"
        );
        isa.run(Attend {
            layer: self,
            pieces: self.plan.pieces(thread),
            memory: self.scratch.thread(thread),
            q,
            out,
        });
    }

    /// Folds one thread's part of what borders between threads cut. Not needed where
    /// [`AttentionPlan::needs_fold`] says so.
    ///
    /// # Safety
    /// As for [`attend`](Self::attend), after all threads have left that.
    pub unsafe fn fold(&self, isa: Isa, thread: usize, out: RowsMut<'_>) {
        isa.run(FoldCut {
            layer: self,
            thread,
            out,
        });
    }

    fn scaling(&self) -> Scaling {
        Scaling {
            scale: self.scale,
            softcap: self.softcap,
        }
    }

    /// Where a row's result goes.
    pub(super) fn out_cells(&self, out: &RowsMut<'_>, row: QueryRow) -> *mut f32 {
        let dim = self.pages.layout().head_dim();
        out.cells(row.row, row.head * dim, dim)
    }
}

/// A row of queries and its head.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueryRow {
    pub(super) row: usize,
    pub(super) head: usize,
}

struct Attend<'a> {
    layer: &'a LayerAttention<'a>,
    pieces: &'a [Piece],
    memory: ThreadMemory,
    q: Rows<'a>,
    out: RowsMut<'a>,
}

/// A row of the tile in work.
#[derive(Debug, Clone, Copy)]
struct TileRow {
    /// Where its query comes from and its result goes.
    query: QueryRow,
    /// Keys it sees.
    first_key: usize,
    end_key: usize,
    /// Its state, or the partial of the piece's first block when blocks are stored apart.
    state: *mut f32,
    /// Floats from one block's stored partial to the next one's; 0 when they are folded.
    step: usize,
    /// Whether the piece is all of its chain.
    is_complete: bool,
}

impl TileRow {
    const NONE: Self = Self {
        query: QueryRow { row: 0, head: 0 },
        first_key: 0,
        end_key: 0,
        state: std::ptr::null_mut(),
        step: 0,
        is_complete: false,
    };

    fn keys(&self) -> Range<usize> {
        self.first_key..self.end_key
    }
}

/// The rows of the tile in work.
struct TileRows {
    rows: [TileRow; TILE_ROWS],
    count: usize,
}

impl Kernel for Attend<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        // SAFETY: the contract of `LayerAttention::attend`.
        unsafe {
            match self.layer.pages.layout().kind() {
                KvKind::Bf16 => self.run_cells::<S, Bf16>(),
                KvKind::Int8 => self.run_cells::<S, Int8>(),
            }
        }
    }
}

impl Attend<'_> {
    #[inline(always)]
    unsafe fn run_cells<S: Simd, C: Cells>(&self) {
        let mut ahead = Ahead::new(self.layer, self.pieces);
        ahead.start::<S>();
        for piece in self.pieces {
            let tile = self.layer.plan.tile(piece.tile);
            // SAFETY: the caller's promise.
            unsafe { self.run_piece::<S, C>(tile, &piece.blocks, &mut ahead) }
        }
        if S::TILES {
            // SAFETY: tiles are there.
            unsafe { tiles::release() }
        }
    }

    #[inline(always)]
    unsafe fn run_piece<S: Simd, C: Cells>(
        &self,
        tile: &Tile,
        blocks: &Range<usize>,
        ahead: &mut Ahead<'_>,
    ) {
        let plan = self.layer.plan;
        // SAFETY: the caller's promise; the plan's tables name pages that are there.
        unsafe {
            let rows = self.open::<S, C>(tile, blocks);
            for index in blocks.clone() {
                let mut block = Block::new(
                    self.layer.pages,
                    (self.layer.layer, tile.kv_head),
                    plan.table(tile),
                    index,
                    &tile.keys,
                );
                block.look_ahead(ahead);
                self.run_block::<S, C>(&rows, &block, (index, blocks.start));
            }
            self.close::<S>(&rows);
        }
    }

    /// Packs the tile's queries and finds where its rows' partials go.
    #[inline(always)]
    unsafe fn open<S: Simd, C: Cells>(&self, tile: &Tile, blocks: &Range<usize>) -> TileRows {
        let mut rows = TileRows {
            rows: [TileRow::NONE; TILE_ROWS],
            count: 0,
        };
        let layout = self.layer.pages.layout();
        let (dim, head_dim) = (layout.dim(), layout.head_dim());
        for member in self.layer.plan.members(tile) {
            self.add_member(&mut rows, member, tile.kv_head, blocks);
        }
        for (i, row) in rows.rows[..rows.count].iter().enumerate() {
            let query = self
                .q
                .cells(row.query.row, row.query.head * head_dim, head_dim);
            // SAFETY: the thread's memory has room for a tile's queries.
            unsafe {
                C::pack_query::<S>(
                    layout,
                    query,
                    self.memory.queries.add(i * C::query_bytes(dim)),
                );
            }
        }
        rows
    }

    fn add_member(
        &self,
        rows: &mut TileRows,
        member: &Member,
        kv_head: usize,
        blocks: &Range<usize>,
    ) {
        let plan = self.layer.plan;
        let (group, partial) = (plan.group(), partial_len(self.layer.pages.layout().dim()));
        let chain = plan.chain(member);
        let is_first = blocks.start == chain.blocks.start;
        for i in 0..member.num_positions * group {
            let keys = plan.visible(member.first_position + i / group);
            let state = match chain.slots {
                // SAFETY: the thread's memory has a state for each row of a tile.
                None => unsafe { self.memory.states.add(rows.count * partial) },
                Some(first) => {
                    let slot = if is_first {
                        0
                    } else {
                        1 + blocks.start - chain.first_end
                    };
                    // SAFETY: the scratch is prepared for the plan.
                    unsafe { self.layer.scratch.slot(first + slot * chain.num_rows + i) }
                }
            };
            rows.rows[rows.count] = TileRow {
                query: QueryRow {
                    row: member.first_row + i / group,
                    head: kv_head * group + i % group,
                },
                first_key: keys.start,
                end_key: keys.end,
                state,
                step: if is_first {
                    0
                } else {
                    chain.num_rows * partial
                },
                is_complete: chain.slots.is_none(),
            };
            rows.count += 1;
        }
    }

    #[inline(always)]
    unsafe fn run_block<S: Simd, C: Cells>(
        &self,
        rows: &TileRows,
        block: &Block,
        (index, first_index): (usize, usize),
    ) {
        let partial = partial_len(block.dim);
        let mut targets = [std::ptr::null_mut(); TILE_ROWS];
        // SAFETY: addresses in the thread's memory for each of the tile's rows, and in stored
        // partials that are this piece's.
        unsafe {
            let memory = &self.memory;
            registers::scores::<S, C>(rows.count, block, memory.queries, memory.scores);
            for (i, row) in rows.rows[..rows.count].iter().enumerate() {
                let valid = Valid::in_block(index, &row.keys());
                let weights = self.memory.weights.add(i * WEIGHT_STRIDE);
                targets[i] = self.memory.partials.add(i * partial);
                if valid.is_empty() {
                    no_weights::<S, C>(block, weights);
                    continue;
                }
                if row.step > 0 || index == row.first_key / BLOCK {
                    targets[i] = row.state.add((index - first_index) * row.step);
                }
                let scores = self.memory.scores.add(i * SCORE_STRIDE);
                let scaling = self.layer.scaling();
                softmax::<S, C>(block, valid, scaling, (scores, weights), targets[i]);
            }
            let values = targets.map(|target| target.wrapping_add(VALUES));
            registers::values::<S, C>(block, memory.weights, &values[..rows.count]);
            for (row, &target) in rows.rows[..rows.count].iter().zip(&targets) {
                let is_apart = row.step > 0 || target == row.state;
                if !is_apart && !Valid::in_block(index, &row.keys()).is_empty() {
                    fold::<S>(row.state, target, block.dim);
                }
            }
        }
    }

    /// Writes the results of the rows whose chain the piece completes.
    #[inline(always)]
    unsafe fn close<S: Simd>(&self, rows: &TileRows) {
        for row in rows.rows[..rows.count].iter().filter(|row| row.is_complete) {
            let out = self.layer.out_cells(&self.out, row.query);
            // SAFETY: a state with some block folded in, as a row sees itself at least.
            unsafe { finish::<S>(row.state, out, self.layer.pages.layout().head_dim()) }
        }
    }
}
