//! Rows of floats to packed rows.
#![expect(unsafe_code, reason = "reads and writes by address")]

use std::ops::Range;

use super::super::codes::{LARGEST, chunk, chunk_magnitude, codes, inverse, magnitude};
use super::super::layout::ActivationFormat;
use super::{Activations, Place};
use crate::hadamard::rotate_vectors as rotate;
use crate::norm::Norm;
use crate::simd::{Kernel, LANES, Simd};

pub(super) struct Quantize<'a, V> {
    pub(super) to: &'a Activations,
    pub(super) rows: Range<usize>,
    pub(super) norm: Option<Norm<'a>>,
    pub(super) values: V,
}

impl<'x, V: Fn(usize) -> &'x [f32]> Kernel for Quantize<'_, V> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let (cols, format) = (self.to.cols, self.to.format);
        let mut changed = vec![0.0; cols];
        for row in self.rows {
            let given = (self.values)(row);
            assert!(given.len() == cols, "a row of {} values", given.len());
            if let Some(norm) = self.norm {
                assert!(norm.weight.len() == cols, "a norm of another length");
                // SAFETY: three slices of one length.
                unsafe { norm.apply::<S>(given.as_ptr(), changed.as_mut_ptr()) };
            } else if format == ActivationFormat::Int8 {
                changed.copy_from_slice(given);
            }
            let place = self.to.place(row);
            let values = match self.norm {
                Some(_) => &changed,
                None => given,
            };
            // SAFETY: the row is in the buffer, and only this call writes it.
            unsafe {
                match format {
                    ActivationFormat::Bf16 => bf16::<S>(values, place),
                    ActivationFormat::Int8 => {
                        rotate::<S>(&mut changed);
                        int8::<S>(&changed, place);
                    }
                    ActivationFormat::Int8Group => int8_group::<S>(values, place),
                }
            }
        }
    }
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

/// # Safety
/// The place is that of an 8-bit row of this length.
#[inline(always)]
unsafe fn int8<S: Simd>(values: &[f32], place: Place) {
    let magnitude = magnitude::<S>(values);
    let inverse = S::splat(inverse(magnitude, LARGEST));
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
    for index in 0..place.chunks {
        let [low, high] = chunk::<S>(values, index);
        let magnitude = chunk_magnitude::<S>([low, high]);
        let inverse = S::splat(inverse(magnitude, LARGEST));
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
