//! bfloat16 weights. A tile is [16 pairs of inputs][32 outputs][2].
#![expect(unsafe_code, reason = "reads and writes by address")]

use super::super::layout::{ActivationFormat, WeightKind};
use super::{Operands, Weights, four, sums_in_registers, tiled, write};
use crate::simd::Simd;

#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Bf16;

const TILE: usize = WeightKind::Bf16.tile_bytes();
const ROW: usize = ActivationFormat::Bf16.span_bytes();

impl Weights for Bf16 {
    const REQUESTS: usize = 16 * 2;
    const DISTANCE: usize = 4096;

    #[inline(always)]
    fn max_rows<S: Simd>() -> usize {
        sums_in_registers::<S>() / 2
    }

    #[inline(always)]
    unsafe fn product<S: Simd, const R: usize>(x: Operands, out: *mut f32) {
        let mut sums = [[S::splat(0.0); 2]; R];
        for chunk in 0..x.chunks {
            let tile = x.weights.wrapping_add(chunk * TILE);
            let rows = x.rows.wrapping_add(chunk * R * ROW);
            for pair in 0..16 {
                x.ahead.prefetch::<S, 2>(chunk * 16 + pair);
                let at = tile.wrapping_add(pair * 128);
                // SAFETY: within the tile.
                let weights = unsafe { [S::load_i(at), S::load_i(at.add(64))] };
                for (row, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: within the chunk of the block.
                    let inputs = unsafe { four::<S>(rows.add(row * ROW + pair * 4)) };
                    for half in 0..2 {
                        sums[half] = S::dot_bf16(sums[half], weights[half], inputs);
                    }
                }
            }
        }
        // SAFETY: the caller's promise.
        unsafe { write::<S, R>(sums, out) }
    }

    /// Tiles round otherwise than vectors, so they take all rows.
    const TILE_ROWS: Option<usize> = Some(1);

    #[inline(always)]
    unsafe fn tile_product<S: Simd>(rows: usize, x: Operands, out: *mut f32) {
        // SAFETY: the caller's promise; a chunk is a step.
        unsafe { tiled::sums::<S, true>(rows, x, x.chunks, out.cast()) }
    }
}
