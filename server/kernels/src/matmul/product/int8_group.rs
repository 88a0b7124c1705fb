//! 8-bit weights with a scale for 32 inputs. A tile is [8 quads of inputs][32 outputs][4], codes
//! plus 128, then the scales f16[32]. A chunk of a block is [R][32] codes, the rows' scales f32[R]
//! and offsets f32[R], -128 times the sum of a row's codes.
#![expect(unsafe_code, reason = "reads and writes by address")]

use super::super::layout::{ActivationFormat, CHUNK, PANEL, WeightKind};
use super::{Operands, Weights, float, four, sums_in_registers, write};
use crate::simd::{LANES, Simd};

#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Int8Group;

const TILE: usize = WeightKind::Int8Group.tile_bytes();
const ROW: usize = ActivationFormat::Int8Group.span_bytes();

impl Weights for Int8Group {
    const REQUESTS: usize = 8 * 3;
    const DISTANCE: usize = 4096;

    #[inline(always)]
    fn max_rows<S: Simd>() -> usize {
        (sums_in_registers::<S>() / 4).max(1)
    }

    #[inline(always)]
    unsafe fn product<S: Simd, const R: usize>(x: Operands, out: *mut f32) {
        let mut sums = [[S::splat(0.0); 2]; R];
        for chunk in 0..x.chunks {
            let tile = x.weights.wrapping_add(chunk * TILE);
            let rows = x.rows.wrapping_add(chunk * R * ROW);
            let mut dots = [[S::splat_i(0); 2]; R];
            for quad in 0..8 {
                x.ahead.prefetch::<S, 3>(chunk * 8 + quad);
                let at = tile.wrapping_add(quad * 128);
                // SAFETY: within the tile.
                let weights = unsafe { [S::load_i(at), S::load_i(at.add(64))] };
                for (row, dots) in dots.iter_mut().enumerate() {
                    // SAFETY: within the chunk of the block.
                    let inputs = unsafe { four::<S>(rows.add(row * CHUNK + quad * 4)) };
                    for half in 0..2 {
                        dots[half] = S::dot_u8i8(dots[half], weights[half], inputs);
                    }
                }
            }

            let outputs: *const u16 = tile.wrapping_add(CHUNK * PANEL).cast();
            // SAFETY: the scales are the last of the tile.
            let outputs = unsafe { [S::load_f16(outputs), S::load_f16(outputs.add(LANES))] };
            let scales = rows.wrapping_add(R * CHUNK);
            let offsets = scales.wrapping_add(R * 4);
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: scales and offsets are the last of the chunk.
                let (scale, offset) = unsafe {
                    (
                        float::<S>(scales.add(row * 4)),
                        float::<S>(offsets.add(row * 4)),
                    )
                };
                for half in 0..2 {
                    // Whole numbers below 2^24: nothing is rounded before the first product.
                    let dot = S::add(S::to_f(dots[row][half]), offset);
                    sums[half] = S::fma(S::mul(dot, outputs[half]), scale, sums[half]);
                }
            }
        }
        // SAFETY: the caller's promise.
        unsafe { write::<S, R>(sums, out) }
    }
}
