//! Memory that attending needs beside its input and output.

use std::cell::UnsafeCell;

use super::cells::{Cells, SCORE_STRIDE, WEIGHT_STRIDE};
use super::fold::partial_len;
use super::layout::KvLayout;
use super::plan::AttentionPlan;
use super::{TILE_ROWS, bf16::Bf16};

/// A cache line, so that threads do not share one.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

const LINE: Line = Line([0.0; 16]);

/// Memory of all threads, kept from step to step.
pub struct Scratch {
    dim: usize,
    threads: Vec<Memory>,
    /// Partials of the chains that a border between threads cuts.
    cut: Memory,
}

struct Memory(UnsafeCell<Vec<Line>>);

// SAFETY: a thread uses its own memory alone, and of `cut` the partials that the plan gives it; see
// `LayerAttention`.
unsafe impl Sync for Memory {}

impl Memory {
    fn new(floats: usize) -> Self {
        Self(UnsafeCell::new(vec![LINE; floats.div_ceil(16)]))
    }

    fn len(&mut self) -> usize {
        self.0.get_mut().len() * 16
    }

    fn base(&self) -> *mut f32 {
        // SAFETY: the vector itself is changed only through `&mut self`.
        unsafe { (*self.0.get()).as_ptr().cast_mut().cast() }
    }
}

impl std::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let threads = self.threads.len();
        f.debug_struct("Scratch")
            .field("threads", &threads)
            .finish_non_exhaustive()
    }
}

/// Addresses in one thread's memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct ThreadMemory {
    /// Packed queries of a tile.
    pub(super) queries: *mut u8,
    /// Scores of a block, rows of [`SCORE_STRIDE`].
    pub(super) scores: *mut f32,
    /// Weights of a block, rows of [`WEIGHT_STRIDE`] bytes.
    pub(super) weights: *mut u8,
    /// A partial for each row: what the blocks so far give.
    pub(super) states: *mut f32,
    /// A partial for each row: what the current block gives.
    pub(super) partials: *mut f32,
}

impl Scratch {
    /// For `num_threads` threads and any plan.
    #[must_use]
    pub fn new(layout: &KvLayout, num_threads: usize) -> Self {
        let dim = layout.dim();
        let [.., end] = offsets(dim);
        Self {
            dim,
            threads: (0..num_threads).map(|_| Memory::new(end)).collect(),
            cut: Memory::new(0),
        }
    }

    /// Makes room for what a plan needs. Once a step, before its layers.
    ///
    /// # Panics
    /// When the plan is for more threads.
    pub fn prepare(&mut self, plan: &AttentionPlan) {
        assert!(
            plan.num_threads() <= self.threads.len(),
            "scratch of too few threads"
        );
        let needed = plan.num_slots() * partial_len(self.dim);
        if self.cut.len() < needed {
            self.cut = Memory::new(needed);
        }
    }

    pub(super) fn thread(&self, thread: usize) -> ThreadMemory {
        let base = self.threads[thread].base();
        let [scores, weights, states, partials, _] = offsets(self.dim);
        // SAFETY: the offsets are those that the memory was made for.
        unsafe {
            ThreadMemory {
                queries: base.cast(),
                scores: base.add(scores),
                weights: base.add(weights).cast(),
                states: base.add(states),
                partials: base.add(partials),
            }
        }
    }

    /// Address of a stored partial.
    ///
    /// # Safety
    /// The scratch is prepared for a plan that has the slot.
    pub(super) unsafe fn slot(&self, slot: usize) -> *mut f32 {
        // SAFETY: the caller's promise.
        unsafe { self.cut.base().add(slot * partial_len(self.dim)) }
    }
}

/// Where the parts of a thread's memory begin after the queries, and its end, in floats.
fn offsets(dim: usize) -> [usize; 5] {
    let mut offset = 0;
    [
        Bf16::query_bytes(dim).div_ceil(4),
        SCORE_STRIDE,
        WEIGHT_STRIDE / 4,
        partial_len(dim),
        partial_len(dim),
    ]
    .map(|row| {
        offset += TILE_ROWS * row;
        offset
    })
}
