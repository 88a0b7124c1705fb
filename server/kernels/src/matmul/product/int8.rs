//! 8-bit weights with one scale an output. A tile is [8 quads of inputs][32 outputs][4], codes plus
//! 128; after the tiles the scales f32[32]. A block is [R][64] codes for each two chunks, then
//! the rows' scales f32[R] and offsets i32[R], -128 times the sum of a row's codes.
#![expect(unsafe_code, reason = "reads and writes by address")]

use super::super::layout::{ActivationFormat, CHUNK, PANEL, WeightKind};
use super::{Operands, Weights, float, four, shapes, sums_in_registers, tiled, write};
use crate::simd::{LANES, Simd};

#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Int8;

const TILE: usize = WeightKind::Int8.tile_bytes();
const ROW: usize = ActivationFormat::Int8.span_bytes();

impl Weights for Int8 {
    const REQUESTS: usize = 8 * 2;
    const DISTANCE: usize = 4096;

    #[inline(always)]
    fn max_rows<S: Simd>() -> usize {
        sums_in_registers::<S>() / 2
    }

    #[inline(always)]
    unsafe fn product<S: Simd, const R: usize>(x: Operands, out: *mut f32) {
        let scales = x.rows.wrapping_add(x.chunks.div_ceil(2) * R * ROW);
        let offsets = scales.wrapping_add(R * 4);
        // SAFETY: the offsets are the last of the block.
        let mut sums: [[S::I; 2]; R] =
            std::array::from_fn(|row| [unsafe { four::<S>(offsets.add(row * 4)) }; 2]);
        for chunk in 0..x.chunks {
            let tile = x.weights.wrapping_add(chunk * TILE);
            let rows = x.rows.wrapping_add(chunk / 2 * R * ROW + chunk % 2 * CHUNK);
            for quad in 0..8 {
                x.ahead.prefetch::<S, 2>(chunk * 8 + quad);
                let at = tile.wrapping_add(quad * 128);
                // SAFETY: within the tile.
                let weights = unsafe { [S::load_i(at), S::load_i(at.add(64))] };
                for (row, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: within the chunk of the block.
                    let inputs = unsafe { four::<S>(rows.add(row * ROW + quad * 4)) };
                    for half in 0..2 {
                        sums[half] = S::dot_u8i8(sums[half], weights[half], inputs);
                    }
                }
            }
        }
        let outputs: *const f32 = x.weights.wrapping_add(x.chunks * TILE).cast();
        // SAFETY: the scales are the last of the panel.
        let outputs = unsafe { [S::load(outputs), S::load(outputs.add(LANES))] };
        let results = std::array::from_fn(|row| {
            // SAFETY: within the block's scales.
            let scale = unsafe { float::<S>(scales.add(row * 4)) };
            std::array::from_fn(|half| {
                S::mul(S::mul(S::to_f(sums[row][half]), scale), outputs[half])
            })
        });
        // SAFETY: the caller's promise.
        unsafe { write::<S, R>(results, out) }
    }

    const TILE_ROWS: Option<usize> = Some(7);

    #[inline(always)]
    unsafe fn tile_product<S: Simd>(rows: usize, x: Operands, out: *mut f32) {
        let scales = x.rows.wrapping_add(x.chunks.div_ceil(2) * rows * ROW);
        let offsets = scales.wrapping_add(rows * 4);
        let outputs: *const f32 = x.weights.wrapping_add(x.chunks * TILE).cast();
        // SAFETY: the caller's promise; the sums take the results' place.
        unsafe {
            tiled::sums::<S, false>(rows, x, x.chunks / 2, out.cast());
            if x.chunks % 2 == 1 {
                let left = x.rows.add(x.chunks / 2 * rows * ROW);
                let weights = x.weights.add((x.chunks - 1) * TILE);
                tiled::add_half_step(rows, left, weights, out.cast());
                shapes(rows).set();
            }
            let outputs = [S::load(outputs), S::load(outputs.add(LANES))];
            for row in 0..rows {
                let offset = four::<S>(offsets.add(row * 4));
                let scale = float::<S>(scales.add(row * 4));
                for (half, output) in outputs.into_iter().enumerate() {
                    let at = out.add(row * PANEL + half * LANES);
                    let sum = S::add_i(S::load_i(at.cast_const().cast()), offset);
                    S::store(at, S::mul(S::mul(S::to_f(sum), scale), output));
                }
            }
        }
    }
}
