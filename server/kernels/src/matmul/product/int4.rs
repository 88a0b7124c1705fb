//! 4-bit weights with scale and minimum for 32 inputs: w = scale * code + minimum. A tile is
//! [4 quads of inputs][32 outputs][4], codes of inputs i in the low and of i + 16 in the high half
//! of a byte, then the scales [32] and minima [32]. Blocks are those of [`super::Int8Group`].
#![expect(unsafe_code, reason = "reads and writes by address")]

use super::super::layout::{ActivationFormat, CHUNK, PANEL, WeightKind};
use super::{Operands, Weights, float, four, sums_in_registers, write};
use crate::simd::{LANES, Simd};

/// With `WIDE` scales and minima are f32, without f16.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Int4<const WIDE: bool>;

const CODES: usize = CHUNK * PANEL / 2;
const ROW: usize = ActivationFormat::Int8Group.span_bytes();

impl<const WIDE: bool> Int4<WIDE> {
    const TILE: usize = if WIDE {
        WeightKind::Int4Wide.tile_bytes()
    } else {
        WeightKind::Int4Group.tile_bytes()
    };

    /// 32 floats of a tile, of which `index` * 32 come before.
    ///
    /// # Safety
    /// `tile` shows a tile.
    #[inline(always)]
    unsafe fn parameters<S: Simd>(tile: *const u8, index: usize) -> [S::F; 2] {
        let start = tile.wrapping_add(CODES);
        // SAFETY: the caller's promise.
        unsafe {
            if WIDE {
                let start = start.cast::<f32>().add(index * PANEL);
                [S::load(start), S::load(start.add(LANES))]
            } else {
                let start = start.cast::<u16>().add(index * PANEL);
                [S::load_f16(start), S::load_f16(start.add(LANES))]
            }
        }
    }
}

impl<const WIDE: bool> Weights for Int4<WIDE> {
    const REQUESTS: usize = 4 * 3;
    const DISTANCE: usize = 16 << 10;

    #[inline(always)]
    fn max_rows<S: Simd>() -> usize {
        (sums_in_registers::<S>() / 4).max(1)
    }

    #[inline(always)]
    unsafe fn product<S: Simd, const R: usize>(x: Operands, out: *mut f32) {
        let mut sums = [[S::splat(0.0); 2]; R];
        for chunk in 0..x.chunks {
            let tile = x.weights.wrapping_add(chunk * Self::TILE);
            let rows = x.rows.wrapping_add(chunk * R * ROW);
            let mut dots = [[S::splat_i(0); 2]; R];
            for quad in 0..4 {
                x.ahead.prefetch::<S, 3>(chunk * 4 + quad);
                let at = tile.wrapping_add(quad * 128);
                // SAFETY: within the tile.
                let codes = unsafe { [S::load_i(at), S::load_i(at.add(64))] };
                let (low, high) = (codes.map(S::low_nibbles), codes.map(S::high_nibbles));
                for (row, dots) in dots.iter_mut().enumerate() {
                    let inputs = rows.wrapping_add(row * CHUNK + quad * 4);
                    // SAFETY: within the chunk of the block.
                    let (first, second) =
                        unsafe { (four::<S>(inputs), four::<S>(inputs.add(CHUNK / 2))) };
                    for half in 0..2 {
                        dots[half] = S::dot_u4i8(dots[half], low[half], first);
                        dots[half] = S::dot_u4i8(dots[half], high[half], second);
                    }
                }
            }
            // SAFETY: the tile is whole.
            let (outputs, minima) = unsafe {
                (
                    Self::parameters::<S>(tile, 0),
                    Self::parameters::<S>(tile, 1),
                )
            };
            // The rows' offsets are -128 times the sums wanted here; the power of two is exact.
            let minima = minima.map(|minimum| S::mul(minimum, S::splat(-1.0 / 128.0)));
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
                    let scaled = S::mul(S::to_f(dots[row][half]), outputs[half]);
                    let dot = S::fma(minima[half], offset, scaled);
                    sums[half] = S::fma(dot, scale, sums[half]);
                }
            }
        }
        // SAFETY: the caller's promise.
        unsafe { write::<S, R>(sums, out) }
    }
}
