//! Writing a step's keys and values.

use std::ops::Range;

use super::PAGE_TOKENS;
use super::bf16::Bf16;
use super::cells::Cells;
use super::int8::Int8;
use super::layout::{KvKind, Pages};
use super::plan::SequenceRows;
use super::rows::Rows;
use crate::simd::{Isa, Kernel, Simd};

/// Writes keys and values of the step's rows in `rows` to their places in `layer`, rounded or
/// quantized. Rows of `k` and `v` are `[T, num_kv_heads * head_dim]`; the rotary embedding is applied
/// to k.
///
/// Threads may split the rows anywhere: two tokens whose values share words are both written by the
/// thread that has the first of them.
///
/// # Safety
/// The threads' `rows` do not overlap, nobody reads those cells meanwhile, and the instruction set
/// is supported.
///
/// # Panics
/// When a row, layer or page is not there.
pub unsafe fn write_kv(
    isa: Isa,
    (pages, layer): (&Pages, usize),
    sequences: &[SequenceRows<'_>],
    rows: Range<usize>,
    [k, v]: [Rows<'_>; 2],
) {
    assert!(
        layer < pages.layout().num_layers(),
        "layer {layer} is not there"
    );
    isa.run(Write {
        pages,
        layer,
        sequences,
        rows,
        k,
        v,
    });
}

struct Write<'a> {
    pages: &'a Pages,
    layer: usize,
    sequences: &'a [SequenceRows<'a>],
    rows: Range<usize>,
    k: Rows<'a>,
    v: Rows<'a>,
}

impl Kernel for Write<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        match self.pages.layout().kind() {
            KvKind::Bf16 => self.run_cells::<S, Bf16>(),
            KvKind::Int8 => self.run_cells::<S, Int8>(),
        }
    }
}

impl Write<'_> {
    #[inline(always)]
    fn run_cells<S: Simd, C: Cells>(&self) {
        for sequence in self.sequences {
            for row in own_rows(sequence, &self.rows) {
                let position = sequence.context + row - sequence.first_row;
                let page = sequence.pages[position / PAGE_TOKENS];
                let page = usize::try_from(page).unwrap_or(usize::MAX);
                assert!(page < self.pages.count(), "row {row} lies in no page");
                self.write_row::<S, C>(row, page, position % PAGE_TOKENS);
            }
        }
    }

    #[inline(always)]
    fn write_row<S: Simd, C: Cells>(&self, row: usize, page: usize, token: usize) {
        let layout = self.pages.layout();
        let dim = layout.head_dim();
        for head in 0..layout.num_kv_heads() {
            let kv = [self.k, self.v].map(|rows| rows.cells(row, head * dim, dim));
            // SAFETY: page, layer and head are there; the cells are this thread's.
            unsafe { C::write::<S>(layout, self.pages.keys(page, self.layer, head), token, kv) }
        }
    }
}

/// Rows of a sequence that the owner of `rows` writes: those, but an odd position goes with the even
/// one before it where that is in the step.
fn own_rows(sequence: &SequenceRows<'_>, rows: &Range<usize>) -> Range<usize> {
    let all = sequence.first_row..sequence.first_row + sequence.num_rows;
    let border = |row: usize| {
        let position = sequence.context + row.saturating_sub(all.start);
        let splits_pair = all.start < row && row < all.end && !position.is_multiple_of(2);
        (row + usize::from(splits_pair)).clamp(all.start, all.end)
    };
    border(rows.start)..border(rows.end)
}
