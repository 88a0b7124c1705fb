//! Folding the chains that a border between threads cut.

use super::BLOCK;
use super::attend::{LayerAttention, QueryRow};
use super::fold::{finish, fold};
use super::plan::Chain;
use super::rows::RowsMut;
use crate::simd::{Kernel, Simd};

/// One thread's part of the rows of cut chains.
pub(super) struct FoldCut<'a> {
    pub(super) layer: &'a LayerAttention<'a>,
    pub(super) thread: usize,
    pub(super) out: RowsMut<'a>,
}

impl Kernel for FoldCut<'_> {
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

impl FoldCut<'_> {
    #[inline(always)]
    unsafe fn fold_row<S: Simd>(&self, chain: &Chain, row: usize) {
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
