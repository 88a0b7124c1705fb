//! Attention of one layer.

use std::ops::Range;

use super::bf16::Bf16;
use super::block::Block;
use super::cells::{Cells, SCORE_STRIDE, WEIGHT_STRIDE};
use super::fold::{VALUES, finish, fold, partial_len};
use super::layout::{KvKind, Pages};
use super::plan::{AttentionPlan, Member, Piece, Tile};
use super::rows::{Rows, RowsMut};
use super::scratch::{Scratch, ThreadMemory};
use super::softmax::{Scaling, Valid, no_weights, softmax};
use super::{BLOCK, PAGE_TOKENS, TILE_ROWS};
use crate::simd::{Isa, Kernel, LANES, Simd};

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
        isa.run(Fold {
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
    fn out_cells(&self, out: &RowsMut<'_>, row: QueryRow) -> *mut f32 {
        let dim = self.pages.layout().head_dim();
        out.cells(row.row, row.head * dim, dim)
    }
}

/// A row of queries and its head.
#[derive(Debug, Clone, Copy)]
struct QueryRow {
    row: usize,
    head: usize,
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
                KvKind::Int8 => todo!(),
            }
        }
    }
}

impl Attend<'_> {
    #[inline(always)]
    unsafe fn run_cells<S: Simd, C: Cells>(&self) {
        for piece in self.pieces {
            let tile = self.layer.plan.tile(piece.tile);
            // SAFETY: the caller's promise.
            unsafe { self.run_piece::<S, C>(tile, &piece.blocks) }
        }
    }

    #[inline(always)]
    unsafe fn run_piece<S: Simd, C: Cells>(&self, tile: &Tile, blocks: &Range<usize>) {
        let plan = self.layer.plan;
        // SAFETY: the caller's promise; the plan's tables name pages that are there.
        unsafe {
            let rows = self.open::<S, C>(tile, blocks);
            for index in blocks.clone() {
                let block = Block::new(
                    self.layer.pages,
                    (self.layer.layer, tile.kv_head),
                    plan.table(tile),
                    index,
                    &tile.keys,
                );
                self.run_block::<S, C>(&rows, &block, index, blocks.start);
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
        index: usize,
        first_index: usize,
    ) {
        let partial = partial_len(block.dim);
        let mut targets = [std::ptr::null_mut(); TILE_ROWS];
        // SAFETY: addresses in the thread's memory for each of the tile's rows, and in stored
        // partials that are this piece's.
        unsafe {
            self.scores::<S, C>(rows.count, block);
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
            self.values::<S, C>(
                &targets.map(|target| target.wrapping_add(VALUES))[..rows.count],
                block,
            );
            for (row, &target) in rows.rows[..rows.count].iter().zip(&targets) {
                let is_apart = row.step > 0 || target == row.state;
                if !is_apart && !Valid::in_block(index, &row.keys()).is_empty() {
                    fold::<S>(row.state, target, block.dim);
                }
            }
        }
    }

    /// Scores of all rows with the block's pages.
    #[inline(always)]
    unsafe fn scores<S: Simd, C: Cells>(&self, num_rows: usize, block: &Block) {
        for page in block.valid.pages() {
            let keys = block.keys(page);
            for (first, count) in row_blocks(num_rows, if S::REGISTERS >= 32 { 12 } else { 3 }) {
                // SAFETY: the caller's promise.
                unsafe {
                    let queries = self.memory.queries.add(first * C::query_bytes(block.dim));
                    let to = self
                        .memory
                        .scores
                        .add(first * SCORE_STRIDE + page * PAGE_TOKENS);
                    score_rows::<S, C>(count, block.dim, (queries, keys), to);
                }
            }
        }
    }

    /// Weighted values of all rows.
    #[inline(always)]
    unsafe fn values<S: Simd, C: Cells>(&self, to: &[*mut f32], block: &Block) {
        let (vectors, most) = (block.dim / LANES, if S::REGISTERS >= 32 { 4 } else { 2 });
        let mut vector = 0;
        while vector < vectors {
            let width = [4, 2, 1]
                .into_iter()
                .find(|w| *w <= most.min(vectors - vector));
            let width = width.unwrap_or(1);
            for (first, count) in row_blocks(to.len(), if S::REGISTERS >= 32 { 6 } else { 3 }) {
                let to = &to[first..first + count];
                // SAFETY: the caller's promise.
                unsafe {
                    let weights = self.memory.weights.add(first * WEIGHT_STRIDE);
                    match width {
                        4 => value_rows::<S, C, 4>(block, weights, vector, to),
                        2 => value_rows::<S, C, 2>(block, weights, vector, to),
                        _ => value_rows::<S, C, 1>(block, weights, vector, to),
                    }
                }
            }
            vector += width;
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

/// Cuts rows into equal register blocks: first row and number.
#[inline(always)]
fn row_blocks(rows: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let count = rows.div_ceil(most);
    (0..count).map(move |i| {
        let first = rows * i / count;
        (first, rows * (i + 1) / count - first)
    })
}

#[inline(always)]
unsafe fn score_rows<S: Simd, C: Cells>(
    rows: usize,
    dim: usize,
    (queries, keys): (*const u8, *const u8),
    to: *mut f32,
) {
    macro_rules! with {
        ($($count:literal)*) => {
            match rows {
                // SAFETY: the caller's promise.
                $($count => unsafe { C::scores::<S, $count>(dim, queries, keys, to) },)*
                _ => unreachable!("row blocks are bounded"),
            }
        };
    }
    if S::REGISTERS >= 32 {
        with!(1 2 3 4 5 6 7 8 9 10 11 12);
    } else {
        with!(1 2 3);
    }
}

#[inline(always)]
unsafe fn value_rows<S: Simd, C: Cells, const V: usize>(
    block: &Block,
    weights: *const u8,
    vector: usize,
    to: &[*mut f32],
) {
    macro_rules! with {
        ($($count:literal)*) => {
            match to.len() {
                // SAFETY: the caller's promise.
                $($count => unsafe { C::values::<S, $count, V>(block, weights, vector, to) },)*
                _ => unreachable!("row blocks are bounded"),
            }
        };
    }
    if S::REGISTERS >= 32 {
        with!(1 2 3 4 5 6);
    } else {
        with!(1 2 3);
    }
}

struct Fold<'a> {
    layer: &'a LayerAttention<'a>,
    thread: usize,
    out: RowsMut<'a>,
}

impl Kernel for Fold<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let plan = self.layer.plan;
        let total: usize = plan.cut_chains().map(|chain| chain.num_rows).sum();
        let border = |thread: usize| total * thread / plan.num_threads();
        let mine = border(self.thread)..border(self.thread + 1);
        let mut before = 0;
        for chain in plan.cut_chains() {
            let rows = mine.start.max(before)..mine.end.min(before + chain.num_rows);
            for row in rows {
                // SAFETY: the contract of `LayerAttention::fold`.
                unsafe { self.fold_row::<S>(chain, row - before) }
            }
            before += chain.num_rows;
        }
    }
}

impl Fold<'_> {
    #[inline(always)]
    unsafe fn fold_row<S: Simd>(&self, chain: &super::plan::Chain, row: usize) {
        let (plan, layout) = (self.layer.plan, self.layer.pages.layout());
        let position = chain.member.first_position + row / plan.group();
        let keys = plan.visible(position);
        let seen = keys.start / BLOCK..keys.end.div_ceil(BLOCK);
        let Some(first) = chain.slots else { return };
        let mut state: *mut f32 = std::ptr::null_mut();
        for slot in 0..chain.num_slots() {
            let blocks = chain.slot_blocks(slot);
            if blocks.start >= seen.end || blocks.end <= seen.start {
                continue;
            }
            // SAFETY: stored partials of the row, written by all threads.
            unsafe {
                let next = self.layer.scratch.slot(first + slot * chain.num_rows + row);
                if state.is_null() {
                    state = next;
                } else {
                    fold::<S>(state, next, layout.dim());
                }
            }
        }
        let query = QueryRow {
            row: chain.member.first_row + row / plan.group(),
            head: chain.kv_head * plan.group() + row % plan.group(),
        };
        let out = self.layer.out_cells(&self.out, query);
        // SAFETY: a row sees itself, so there is a state.
        unsafe { finish::<S>(state, out, layout.head_dim()) }
    }
}
