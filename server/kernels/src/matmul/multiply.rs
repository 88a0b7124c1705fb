//! The product of packed activations with panels of packed weights.
#![expect(unsafe_code, reason = "panels and rows are reached by address")]

use std::marker::PhantomData;
use std::ops::Range;

use super::activations::Activations;
use super::layout::{Blocks, CHUNK, PANEL, WeightKind};
use super::matrix::{Arrangement, Matrix};
use super::output::{Join, Output, Region};
use super::product::{
    Ahead, Bf16, Int4, Int8, Int8Group, MAX_ROWS, Operands, Weights, product, shapes,
};
use crate::simd::{Isa, Kernel, Simd, tiles};

/// out[M, N] = activations[M, K] · matrix[N, K]ᵀ (+ bias), for the outputs of some panels. Its parts
/// give each output the same bits in every call, whatever the rows beside it.
///
/// # Safety
/// The activations are packed and nobody packs them meanwhile; nobody else touches the same panels'
/// columns of the output.
///
/// # Panics
/// When shapes, formats or instruction sets do not belong together.
pub unsafe fn multiply(
    isa: Isa,
    matrix: &Matrix,
    activations: &Activations,
    panels: Range<usize>,
    output: &Output<'_>,
) {
    check(isa, matrix, activations, &panels, output);
    if activations.rows() == 0 {
        return;
    }
    let call = Call {
        matrix,
        activations,
        panels,
        output,
    };
    match matrix.kind() {
        WeightKind::Bf16 => isa.run(Multiply::<Bf16>(call, PhantomData)),
        WeightKind::Int8 => isa.run(Multiply::<Int8>(call, PhantomData)),
        WeightKind::Int8Group => isa.run(Multiply::<Int8Group>(call, PhantomData)),
        WeightKind::Int4Group => isa.run(Multiply::<Int4<false>>(call, PhantomData)),
        WeightKind::Int4Wide => isa.run(Multiply::<Int4<true>>(call, PhantomData)),
    }
}

fn check(isa: Isa, matrix: &Matrix, x: &Activations, panels: &Range<usize>, output: &Output<'_>) {
    assert!(
        isa == x.isa() && matrix.kind().activations() == x.format() && matrix.cols() == x.cols(),
        "{:?} weights of {} columns by {:?} activations of {} for {isa}, packed for {}",
        matrix.kind(),
        matrix.cols(),
        x.format(),
        x.cols(),
        x.isa(),
    );
    assert!(panels.end <= matrix.num_panels(), "panels {panels:?}");
    let gated = matches!(output.join(), Join::Gated(_));
    let paired = matrix.arrangement() == Arrangement::GateUp;
    assert!(
        gated == paired,
        "a gate needs weights arranged as gate and up"
    );
    let cols = output_cols(matrix);
    assert!(
        output.holds(x.rows(), cols),
        "the output has not {} x {cols}",
        x.rows()
    );
}

/// Columns of the output.
fn output_cols(matrix: &Matrix) -> usize {
    match matrix.arrangement() {
        Arrangement::Stacked => matrix.rows(),
        Arrangement::GateUp => matrix.rows() / 2,
    }
}

struct Call<'a> {
    matrix: &'a Matrix,
    activations: &'a Activations,
    panels: Range<usize>,
    output: &'a Output<'a>,
}

struct Multiply<'a, W>(Call<'a>, PhantomData<W>);

/// [rows, 32] results of one panel and block.
#[repr(align(64))]
struct Sums([f32; MAX_ROWS * PANEL]);

impl<W: Weights> Kernel for Multiply<'_, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let call = self.0;
        let blocks = call.activations.blocks();
        let cols = output_cols(call.matrix);
        let chunks = call.matrix.cols().div_ceil(CHUNK);
        let mut sums = Sums([0.0; MAX_ROWS * PANEL]);
        let mut tile_rows = 0;
        for panel in call.panels.clone() {
            let weights = call.matrix.panel(panel).cast_const();
            let bias = call.matrix.panel_bias(panel);
            for block in 0..blocks.count() {
                let (first, rows) = blocks.get(block);
                let by_tiles = S::TILES && W::TILE_ROWS.is_some_and(|fewest| rows >= fewest);
                // Tiles leave less room beside them, and with several blocks each asks for a part.
                let a_tile = match by_tiles {
                    true => W::REQUESTS.div_ceil(blocks.count()),
                    false => W::REQUESTS,
                };
                let operands = Operands {
                    weights,
                    rows: call.activations.block(first),
                    chunks,
                    ahead: call.ahead::<W>(weights, (block, blocks), a_tile),
                };
                let region = Region {
                    first,
                    rows,
                    panel,
                    cols,
                    bias,
                };
                let to = sums.0.as_mut_ptr();
                // SAFETY: panel and block are whole, and the shapes were checked.
                unsafe {
                    if by_tiles {
                        if rows != tile_rows {
                            shapes(rows).set();
                            tile_rows = rows;
                        }
                        W::tile_product::<S>(rows, operands, to);
                    } else {
                        product::<S, W>(rows, operands, to);
                    }
                    call.output.write::<S>(to, region);
                }
            }
        }
        if tile_rows > 0 {
            // SAFETY: tiles are there, as they were used.
            unsafe { tiles::release() }
        }
    }
}

impl Call<'_> {
    /// What to ask for beside one block: with one block what the stream brings next, with several the
    /// block's part of the next panel. Behind the last panel lies what the thread reads next.
    #[inline(always)]
    fn ahead<W: Weights>(
        &self,
        weights: *const u8,
        (block, blocks): (usize, Blocks),
        a_tile: usize,
    ) -> Ahead {
        let (kind, cols) = (self.matrix.kind(), self.matrix.cols());
        let bytes = kind.panel_bytes(cols);
        let tiles = cols.div_ceil(CHUNK) * blocks.count();
        let start = if blocks.count() == 1 {
            bytes.min(W::DISTANCE)
        } else {
            bytes + block * bytes.div_ceil(blocks.count())
        };
        Ahead::new(weights.wrapping_add(start), bytes, tiles, a_tile)
    }
}
