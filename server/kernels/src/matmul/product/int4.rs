//! 4-bit weights with scale and minimum for 32 inputs: w = scale * code + minimum. A tile is
//! [4 quads of inputs][32 outputs][4], codes of inputs i in the low and of i + 16 in the high half
//! of a byte, then the scales [32] and minima [32]. Blocks are those of [`super::Int8Group`].
#![expect(unsafe_code, reason = "reads and writes by address")]

use super::super::layout::{ActivationFormat, CHUNK, PANEL, WeightKind};
use super::groups::{self, Codes, Groups};
use super::{Operands, Weights, float, four, shapes, sums_in_registers, write};
use crate::simd::tiles::Shapes;
use crate::simd::{LANES, Simd};

/// With `WIDE` scales and minima are f32, without f16.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Int4<const WIDE: bool>;

const CODES: usize = CHUNK * PANEL / 2;
const ROW: usize = ActivationFormat::Int8Group.span_bytes();

/// Scales and minima of a tile, these over -128.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Scales<F> {
    scales: [F; 2],
    minima: [F; 2],
}

impl<const WIDE: bool> Int4<WIDE> {
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
            let tile = x.weights.wrapping_add(chunk * <Self as Groups>::TILE);
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
            let outputs = unsafe { Self::scales::<S>(tile) };
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
                    let scaled = Self::scaled::<S>(outputs, half, dots[row][half], offset);
                    sums[half] = S::fma(scaled, scale, sums[half]);
                }
            }
        }
        // SAFETY: the caller's promise.
        unsafe { write::<S, R>(sums, out) }
    }

    fn shapes(rows: usize) -> Shapes {
        shapes(rows, CHUNK, 0)
    }

    #[inline(always)]
    unsafe fn tile_product<S: Simd>(rows: usize, x: Operands, out: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { groups::tile_product::<S, Self>(rows, x, out) }
    }
}

impl<const WIDE: bool> Groups for Int4<WIDE> {
    const TILE: usize = if WIDE {
        WeightKind::Int4Wide.tile_bytes()
    } else {
        WeightKind::Int4Group.tile_bytes()
    };
    const REQUESTS: usize = <Self as Weights>::REQUESTS;
    type Scales<S: Simd> = Scales<S::F>;

    #[inline(always)]
    unsafe fn codes<S: Simd>(tile: *const u8, room: &mut Codes) -> *const u8 {
        let to = room.0.as_mut_ptr();
        for at in (0..CODES).step_by(64) {
            // SAFETY: within the tile and its codes.
            unsafe {
                let codes = S::load_i(tile.add(at));
                S::store_i(to.add(at), S::low_nibbles(codes));
                S::store_i(to.add(CODES + at), S::high_nibbles(codes));
            }
        }
        to
    }

    #[inline(always)]
    unsafe fn scales<S: Simd>(tile: *const u8) -> Scales<S::F> {
        // SAFETY: the caller's promise.
        let [scales, minima] = unsafe { [0, 1].map(|index| Self::parameters::<S>(tile, index)) };
        // The rows' offsets are -128 times the sums wanted here; the power of two is exact.
        let minima = minima.map(|minimum| S::mul(minimum, S::splat(-1.0 / 128.0)));
        Scales { scales, minima }
    }

    #[inline(always)]
    fn scaled<S: Simd>(by: Scales<S::F>, half: usize, dot: S::I, offset: S::F) -> S::F {
        S::fma(
            by.minima[half],
            offset,
            S::mul(S::to_f(dot), by.scales[half]),
        )
    }
}
