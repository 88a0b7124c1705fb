//! Quantization of rows of floats.
#![expect(unsafe_code, reason = "reads and writes by address")]

use half::f16;

use super::super::codes::{LARGEST, chunk, chunk_magnitude, codes, inverse, magnitude};
use super::super::layout::CHUNK;
use super::super::source::{Group4, Group8};
use crate::simd::{Isa, Kernel, LANES, Simd};

/// Largest 4-bit code.
const LARGEST4: f32 = 15.0;

/// Ranges that the search for 4-bit codes tries.
const RANGES: u32 = 20;

/// 8-bit codes of a row, a multiple of 32 of them, and their scale: largest magnitude / 127.
pub(super) fn int8(isa: Isa, values: &[f32], codes: &mut Vec<i8>) -> f32 {
    codes.resize(values.len().next_multiple_of(CHUNK), 0);
    isa.run(Int8 { values, codes })
}

/// The same in groups; scales are of half precision.
pub(super) fn groups8(isa: Isa, values: &[f32], groups: &mut Vec<Group8>) {
    groups.resize(values.len().div_ceil(CHUNK), Group8::default());
    isa.run(Groups8 { values, groups });
}

/// 4-bit codes in groups. Scale and minimum, both of half precision, are those with the least
/// squared error among a number of ranges, each improved by least squares on its codes: a search
/// like that of llama.cpp's `make_qkx2_quants`.
pub(super) fn groups4(isa: Isa, values: &[f32], groups: &mut Vec<Group4>) {
    groups.resize(values.len().div_ceil(CHUNK), Group4::default());
    isa.run(Groups4 { values, groups });
}

struct Int8<'a> {
    values: &'a [f32],
    codes: &'a mut [i8],
}

impl Kernel for Int8<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self) -> f32 {
        let magnitude = magnitude::<S>(self.values);
        let inverse = S::splat(inverse(magnitude, LARGEST));
        for (index, to) in self.codes.chunks_exact_mut(CHUNK).enumerate() {
            // SAFETY: the chunk has room for two vectors.
            unsafe { store::<S>(chunk::<S>(self.values, index), inverse, to.as_mut_ptr()) }
        }
        magnitude / LARGEST
    }
}

struct Groups8<'a> {
    values: &'a [f32],
    groups: &'a mut [Group8],
}

impl Kernel for Groups8<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        for (index, group) in self.groups.iter_mut().enumerate() {
            let x = chunk::<S>(self.values, index);
            group.scale = half(chunk_magnitude::<S>(x) / LARGEST);
            let inverse = S::splat(inverse(group.scale, 1.0));
            // SAFETY: a group has room for two vectors.
            unsafe { store::<S>(x, inverse, group.codes.as_mut_ptr()) }
        }
    }
}

/// # Safety
/// `to` has room for two vectors of codes.
#[inline(always)]
unsafe fn store<S: Simd>(x: [S::F; 2], inverse: S::F, to: *mut i8) {
    for (half, x) in x.into_iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { S::store_i8(to.add(half * LANES), codes::<S>(x, inverse)) };
    }
}

fn half(x: f32) -> f32 {
    f16::from_f32(x).to_f32()
}

struct Groups4<'a> {
    values: &'a [f32],
    groups: &'a mut [Group4],
}

impl Kernel for Groups4<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        for (values, group) in self.values.chunks(CHUNK).zip(self.groups) {
            // Where values are missing their first one is repeated: it changes no range.
            let mut padded = [values[0]; CHUNK];
            padded[..values.len()].copy_from_slice(values);
            let x = chunk::<S>(&padded, 0);
            let (scale, minimum) = search::<S>(x);
            (group.scale, group.minimum) = (scale, minimum);
            let q = round4::<S>(x, scale, minimum);
            // SAFETY: a group has room for two vectors.
            unsafe {
                let to: *mut i8 = group.codes.as_mut_ptr().cast();
                S::store_i8(to, S::to_i(q[0]));
                S::store_i8(to.add(LANES), S::to_i(q[1]));
            }
        }
    }
}

/// Scale and minimum; NaN when a value is not finite.
#[inline(always)]
fn search<S: Simd>(x: [S::F; 2]) -> (f32, f32) {
    let poison = chunk_magnitude::<S>(x) * 0.0;
    let largest = S::largest(S::max(x[0], x[1]));
    let smallest = -S::largest(S::max(negative::<S>(x[0]), negative::<S>(x[1])));
    let mut best = (half((largest - smallest) / LARGEST4), half(smallest));
    let mut least = error::<S>(x, best);
    for range in 0..=RANGES {
        let steps = LARGEST4 - 1.0 + 2.0 * range as f32 / RANGES as f32;
        let q = round4::<S>(x, (largest - smallest) / steps, smallest);
        let (scale, minimum) = fit::<S>(x, q);
        let candidate = (half(scale), half(minimum));
        let found = error::<S>(x, candidate);
        if found < least {
            (best, least) = (candidate, found);
        }
    }
    (best.0 + poison, best.1 + poison)
}

#[inline(always)]
fn negative<S: Simd>(x: S::F) -> S::F {
    S::sub(S::splat(0.0), x)
}

/// Codes as floats.
#[inline(always)]
fn round4<S: Simd>(x: [S::F; 2], scale: f32, minimum: f32) -> [S::F; 2] {
    let inverse = S::splat(inverse(scale, 1.0));
    x.map(|x| {
        let q = S::round(S::mul(S::sub(x, S::splat(minimum)), inverse));
        S::max(S::splat(0.0), S::min(S::splat(LARGEST4), q))
    })
}

/// Scale and minimum of the least squared error for given codes.
#[inline(always)]
fn fit<S: Simd>(x: [S::F; 2], q: [S::F; 2]) -> (f32, f32) {
    let count = CHUNK as f32;
    let dot = |a: [S::F; 2], b: [S::F; 2]| S::sum(S::fma(a[0], b[0], S::mul(a[1], b[1])));
    let sum = |a: [S::F; 2]| S::sum(S::add(a[0], a[1]));
    let (sum_x, sum_q, squares, products) = (sum(x), sum(q), dot(q, q), dot(x, q));
    let determinant = count * squares - sum_q * sum_q;
    if determinant <= 0.0 {
        return (0.0, sum_x / count);
    }
    let scale = (count * products - sum_x * sum_q) / determinant;
    (scale, (sum_x - scale * sum_q) / count)
}

/// Sum of squared differences.
#[inline(always)]
fn error<S: Simd>(x: [S::F; 2], (scale, minimum): (f32, f32)) -> f32 {
    let q = round4::<S>(x, scale, minimum);
    let difference =
        |half: usize| S::sub(x[half], S::fma(q[half], S::splat(scale), S::splat(minimum)));
    let (low, high) = (difference(0), difference(1));
    S::sum(S::fma(low, low, S::mul(high, high)))
}
