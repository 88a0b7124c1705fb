//! Matrix tiles where each 32 inputs have scales: the tiles' whole numbers are scaled and added up as
//! vectors, exactly as without tiles.
#![expect(unsafe_code, reason = "reads and writes by address")]

use super::super::layout::{ActivationFormat, CHUNK, PANEL};
use super::{MAX_ROWS, OUT_STRIDE, Operands, WEIGHTS_STRIDE, float};
use crate::simd::tiles::{self, ROW_BYTES};
use crate::simd::{LANES, Simd};

/// Weights in groups of 32 inputs.
pub(super) trait Groups {
    /// Bytes of a tile.
    const TILE: usize;
    /// Requests for memory ahead beside a tile.
    const REQUESTS: usize;
    /// What scales the sums of 32 outputs.
    type Scales<S: Simd>: Copy;

    /// The codes of a tile, [8 quads of inputs][32 outputs][4], in `room` unless they lie there so.
    ///
    /// # Safety
    /// `tile` shows a tile.
    unsafe fn codes<S: Simd>(tile: *const u8, room: &mut Codes) -> *const u8;

    /// # Safety
    /// `tile` shows a tile.
    unsafe fn scales<S: Simd>(tile: *const u8) -> Self::Scales<S>;

    /// What a sum of products of codes stands for, but for the row's scale; `offset` is the row's.
    fn scaled<S: Simd>(scales: Self::Scales<S>, half: usize, dot: S::I, offset: S::F) -> S::F;
}

const ROW: usize = ActivationFormat::Int8Group.span_bytes();

/// A tile's codes, a byte each.
#[repr(align(64))]
pub(super) struct Codes(pub(super) [u8; CHUNK * PANEL]);

/// Sums of a chunk: [rows, 32].
#[repr(align(64))]
struct Dots([i32; MAX_ROWS * PANEL]);

/// [`super::Weights::tile_product`] of weights in groups.
///
/// # Safety
/// As there.
#[inline(always)]
pub(super) unsafe fn tile_product<S: Simd, G: Groups>(rows: usize, x: Operands, out: *mut f32) {
    let mut room = Codes([0; CHUNK * PANEL]);
    let mut dots = [Dots([0; MAX_ROWS * PANEL]), Dots([0; MAX_ROWS * PANEL])];
    // SAFETY: the caller's promise.
    unsafe {
        out.write_bytes(0, rows * PANEL);
        multiply::<S, G>(rows, x, (0, &mut room), &mut dots[0]);
        for chunk in 0..x.chunks {
            // The tiles work on the next chunk while vectors add up this one.
            if chunk + 1 < x.chunks {
                let to = &mut dots[(chunk + 1) % 2];
                multiply::<S, G>(rows, x, (chunk + 1, &mut room), to);
            }
            add::<S, G>(rows, x, (chunk, &dots[chunk % 2]), out);
        }
    }
}

#[inline(always)]
unsafe fn multiply<S: Simd, G: Groups>(
    rows: usize,
    x: Operands,
    (chunk, room): (usize, &mut Codes),
    to: &mut Dots,
) {
    let to: *mut u8 = to.0.as_mut_ptr().cast();
    // SAFETY: the caller's promise.
    unsafe {
        let codes = G::codes::<S>(x.weights.add(chunk * G::TILE), room);
        tiles::zero::<0>();
        tiles::zero::<1>();
        tiles::load::<4>(block(rows, x, chunk), CHUNK);
        tiles::load::<5>(codes, WEIGHTS_STRIDE);
        tiles::dot_i8u8::<0, 4, 5>();
        tiles::load::<6>(codes.add(ROW_BYTES), WEIGHTS_STRIDE);
        tiles::dot_i8u8::<1, 4, 6>();
        tiles::store::<0>(to, OUT_STRIDE);
        tiles::store::<1>(to.add(ROW_BYTES), OUT_STRIDE);
    }
    for request in 0..G::REQUESTS {
        x.ahead.prefetch::<S, 1>(chunk * G::REQUESTS + request);
    }
}

#[inline(always)]
unsafe fn add<S: Simd, G: Groups>(
    rows: usize,
    x: Operands,
    (chunk, dots): (usize, &Dots),
    out: *mut f32,
) {
    // SAFETY: the caller's promise; a block's chunk ends with scales and offsets.
    unsafe {
        let scales = G::scales::<S>(x.weights.add(chunk * G::TILE));
        let row_scales = block(rows, x, chunk).add(rows * CHUNK);
        let offsets = row_scales.add(rows * 4);
        for row in 0..rows {
            let scale = float::<S>(row_scales.add(row * 4));
            let offset = float::<S>(offsets.add(row * 4));
            for half in 0..2 {
                let index = row * PANEL + half * LANES;
                let dot = S::load_i(dots.0.as_ptr().add(index).cast());
                let scaled = G::scaled::<S>(scales, half, dot, offset);
                let at = out.add(index);
                S::store(at, S::fma(scaled, scale, S::load(at)));
            }
        }
    }
}

/// A chunk of the block of rows.
fn block(rows: usize, x: Operands, chunk: usize) -> *const u8 {
    x.rows.wrapping_add(chunk * rows * ROW)
}
