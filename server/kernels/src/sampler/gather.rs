//! The large logits of a row, found in few of its blocks.
#![expect(unsafe_code, reason = "vector reads by address")]

use super::scan::BLOCK;
use crate::simd::{Kernel, LANES, Simd};

/// Finds the logits above a number, and of those at least the `keep` largest.
pub(super) struct Gather<'a> {
    pub(super) logits: &'a [f32],
    /// The largest logit of each block.
    pub(super) maxima: &'a [f32],
    pub(super) above: f32,
    pub(super) keep: usize,
}

impl Kernel for Gather<'_> {
    type Output = Vec<(u32, f32)>;

    #[inline(always)]
    fn run<S: Simd>(mut self) -> Vec<(u32, f32)> {
        let mut found = Vec::new();
        for (index, block) in self.logits.chunks(BLOCK).enumerate() {
            if self.maxima[index] > self.above {
                gather_block::<S>(block, (index * BLOCK) as u32, self.above, &mut found);
                self.narrow(&mut found);
            }
        }
        found
    }
}

impl Gather<'_> {
    /// Drops what cannot be among the `keep` largest, once there is much of it.
    fn narrow(&mut self, found: &mut Vec<(u32, f32)>) {
        if found.len() >= self.keep.saturating_mul(2).max(BLOCK) {
            found.select_nth_unstable_by_key(self.keep - 1, |&(id, logit)| rank(id, logit));
            found.truncate(self.keep);
            // An equal logit loses against those before it.
            self.above = found[self.keep - 1].1;
        }
    }
}

#[inline(always)]
fn gather_block<S: Simd>(block: &[f32], start: u32, above: f32, found: &mut Vec<(u32, f32)>) {
    let least = S::splat(above);
    let (chunks, rest) = block.as_chunks::<LANES>();
    for (index, chunk) in chunks.iter().enumerate() {
        let lanes = S::greater(load::<S>(chunk), least);
        push_lanes(chunk, start + (index * LANES) as u32, lanes, found);
    }
    if !rest.is_empty() {
        let lanes = S::greater(load_rest::<S>(rest), least);
        push_lanes(rest, start + (chunks.len() * LANES) as u32, lanes, found);
    }
}

#[inline(always)]
fn push_lanes(logits: &[f32], start: u32, mut lanes: u16, found: &mut Vec<(u32, f32)>) {
    while lanes != 0 {
        let lane = lanes.trailing_zeros();
        found.push((start + lane, logits[lane as usize]));
        lanes &= lanes - 1;
    }
}

/// Orders from the largest logit, by id among equals.
pub(super) fn rank(id: u32, logit: f32) -> u64 {
    // Adding 0 makes one of both zeros; then the bits of floats, those of negative ones inverted,
    // order as the floats do.
    let bits = (logit + 0.0).to_bits();
    let ascending = if bits >> 31 == 1 {
        !bits
    } else {
        bits | 1 << 31
    };
    u64::from(!ascending) << 32 | u64::from(id)
}

/// 16 logits.
#[inline(always)]
pub(super) fn load<S: Simd>(logits: &[f32; LANES]) -> S::F {
    // SAFETY: the array has 16.
    unsafe { S::load(logits.as_ptr()) }
}

/// Fewer than 16 logits, minus infinity in the other lanes.
#[inline(always)]
pub(super) fn load_rest<S: Simd>(logits: &[f32]) -> S::F {
    let lanes = (1u16 << logits.len()) - 1;
    // SAFETY: as many are read as there are.
    let first = unsafe { S::load_first(logits.as_ptr(), logits.len()) };
    S::select(lanes, first, S::splat(f32::NEG_INFINITY))
}
