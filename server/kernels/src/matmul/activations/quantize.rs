//! Rows of floats to packed rows.
#![expect(unsafe_code, reason = "reads and writes by address")]

use std::ops::Range;

use super::super::layout::{ActivationFormat, CHUNK};
use super::{Activations, Place};
use crate::hadamard::rotate_vectors as rotate;
use crate::norm::for_each_vector;
use crate::simd::{Kernel, LANES, Simd};

/// Largest code; -128 is not used.
const LARGEST: f32 = 127.0;

pub(super) struct Quantize<'a, V> {
    pub(super) to: &'a Activations,
    pub(super) rows: Range<usize>,
    pub(super) values: V,
}

impl<'x, V: Fn(usize) -> &'x [f32]> Kernel for Quantize<'_, V> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let mut rotated = Vec::new();
        for row in self.rows {
            let values = (self.values)(row);
            assert!(
                values.len() == self.to.cols,
                "a row of {} values",
                values.len()
            );
            let place = self.to.place(row);
            // SAFETY: the row is in the buffer, and only this call writes it.
            unsafe {
                match self.to.format {
                    ActivationFormat::Bf16 => bf16::<S>(values, place),
                    ActivationFormat::Int8 => {
                        rotated.clear();
                        rotated.extend_from_slice(values);
                        rotate::<S>(&mut rotated);
                        int8::<S>(&rotated, place);
                    }
                    ActivationFormat::Int8Group => int8_group::<S>(values, place),
                }
            }
        }
    }
}

/// Both vectors of a chunk, zeros after the last value.
#[inline(always)]
fn chunk<S: Simd>(values: &[f32], chunk: usize) -> [S::F; 2] {
    std::array::from_fn(|half| {
        let start = chunk * CHUNK + half * LANES;
        let from = values.as_ptr().wrapping_add(start);
        let count = values.len().saturating_sub(start).min(LANES);
        // SAFETY: `count` values from `start` on.
        unsafe {
            if count == LANES {
                S::load(from)
            } else {
                S::load_first(from, count)
            }
        }
    })
}

/// # Safety
/// The place is that of a bfloat16 row of this length.
#[inline(always)]
unsafe fn bf16<S: Simd>(values: &[f32], place: Place) {
    for index in 0..place.chunks {
        let [low, high] = chunk::<S>(values, index);
        let to: *mut u16 = place.values(ActivationFormat::Bf16, index).cast();
        // SAFETY: the caller's promise.
        unsafe {
            S::store_bf16(to, low);
            S::store_bf16(to.add(LANES), high);
        }
    }
}

/// Largest magnitude; NaN when a value is not finite.
#[inline(always)]
fn magnitude<S: Simd>(largest: S::F, poison: S::F) -> f32 {
    S::largest(largest) + S::sum(poison)
}

/// Codes of a vector, rounded to nearest.
#[inline(always)]
fn codes<S: Simd>(x: S::F, inverse: S::F) -> S::I {
    S::to_i(S::mul(x, inverse))
}

/// 127 / largest magnitude; 0 where there is nothing but zeros, or something that is not finite.
#[inline(always)]
fn inverse(magnitude: f32) -> f32 {
    // The reciprocal of a tiny magnitude would be infinite.
    if magnitude > f32::MIN_POSITIVE {
        LARGEST / magnitude
    } else {
        0.0
    }
}

/// # Safety
/// The place is that of an 8-bit row of this length.
#[inline(always)]
unsafe fn int8<S: Simd>(values: &[f32], place: Place) {
    let (mut largest, mut poison) = (S::splat(0.0), S::splat(0.0));
    for_each_vector(values.len(), |start, count| {
        // SAFETY: `count` values from `start` on.
        let x = unsafe { S::load_first(values.as_ptr().add(start), count) };
        largest = S::max(largest, S::abs(x));
        poison = S::fma(x, S::splat(0.0), poison);
    });
    let magnitude = magnitude::<S>(largest, poison);
    let inverse = S::splat(inverse(magnitude));
    let mut sum = S::splat(0.0);
    for index in 0..place.chunks {
        let to: *mut i8 = place.values(ActivationFormat::Int8, index).cast();
        for (half, x) in chunk::<S>(values, index).into_iter().enumerate() {
            let codes = codes::<S>(x, inverse);
            // Whole numbers below 2^24: exact.
            sum = S::add(sum, S::to_f(codes));
            // SAFETY: the caller's promise.
            unsafe { S::store_i8(to.add(half * LANES), codes) };
        }
    }
    let offset = (S::sum(sum) as i32).wrapping_mul(-128);
    let scale = place.scale(ActivationFormat::Int8, 0);
    // SAFETY: the caller's promise.
    unsafe {
        scale.write_unaligned(magnitude / LARGEST);
        scale.add(place.rows).cast::<i32>().write_unaligned(offset);
    }
}

/// # Safety
/// The place is that of a row of this length in groups.
#[inline(always)]
unsafe fn int8_group<S: Simd>(values: &[f32], place: Place) {
    let zero = S::splat(0.0);
    for index in 0..place.chunks {
        let [low, high] = chunk::<S>(values, index);
        let poison = S::fma(low, zero, S::mul(high, zero));
        let magnitude = magnitude::<S>(S::max(S::abs(low), S::abs(high)), poison);
        let inverse = S::splat(inverse(magnitude));
        let (low, high) = (codes::<S>(low, inverse), codes::<S>(high, inverse));
        let sum = S::sum(S::to_f(S::add_i(low, high)));
        let to: *mut i8 = place.values(ActivationFormat::Int8Group, index).cast();
        let scale = place.scale(ActivationFormat::Int8Group, index);
        // SAFETY: the caller's promise.
        unsafe {
            S::store_i8(to, low);
            S::store_i8(to.add(LANES), high);
            scale.write_unaligned(magnitude / LARGEST);
            scale.add(place.rows).write_unaligned(sum * -128.0);
        }
    }
}
