//! Plain Rust, for any processor: what the other instruction sets are tested against.
#![expect(unsafe_code, reason = "reads and writes by address")]

use std::array::from_fn;

use super::{LANES, Simd};

/// No special instructions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Portable;

type F = [f32; LANES];
type I = [i32; LANES];

#[inline(always)]
fn map2(a: F, b: F, f: impl Fn(f32, f32) -> f32) -> F {
    from_fn(|i| f(a[i], b[i]))
}

#[inline(always)]
fn bytes(x: i32) -> [u8; 4] {
    x.to_le_bytes()
}

/// A bfloat16 as a float.
#[inline(always)]
fn wide(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The nearest bfloat16, ties to even.
#[inline(always)]
fn narrow(x: f32) -> u16 {
    if x.is_nan() {
        return 0x7fc0; // must not round to infinity
    }
    let bits = x.to_bits();
    (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// Half precision to single, exactly.
#[inline(always)]
fn from_f16(half: u16) -> f32 {
    let sign = u32::from(half & 0x8000) << 16;
    let exponent = u32::from(half >> 10 & 0x1f);
    let fraction = u32::from(half & 0x3ff);
    match exponent {
        0 => f32::from_bits(sign | (fraction as f32 * 2f32.powi(-24)).to_bits()),
        0x1f => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

impl Simd for Portable {
    type F = F;
    type I = I;

    const REGISTERS: usize = 8;

    #[inline(always)]
    fn splat(x: f32) -> F {
        [x; LANES]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> F {
        // SAFETY: the caller's promise.
        unsafe { from.cast::<F>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, x: F) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<F>().write_unaligned(x) }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> F {
        // SAFETY: the caller's promise for the first `count`.
        from_fn(|i| {
            if i < count {
                unsafe { from.add(i).read() }
            } else {
                0.0
            }
        })
    }
    #[inline(always)]
    unsafe fn store_first(to: *mut f32, x: F, count: usize) {
        for (i, &lane) in x[..count].iter().enumerate() {
            // SAFETY: the caller's promise for the first `count`.
            unsafe { to.add(i).write(lane) }
        }
    }
    #[inline(always)]
    fn add(a: F, b: F) -> F {
        map2(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(a: F, b: F) -> F {
        map2(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(a: F, b: F) -> F {
        map2(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(a: F, b: F) -> F {
        map2(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn fma(a: F, b: F, c: F) -> F {
        from_fn(|i| a[i].mul_add(b[i], c[i]))
    }
    #[inline(always)]
    fn max(a: F, b: F) -> F {
        map2(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(a: F, b: F) -> F {
        map2(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn abs(x: F) -> F {
        x.map(f32::abs)
    }
    #[inline(always)]
    fn round(x: F) -> F {
        x.map(f32::round_ties_even)
    }
    #[inline(always)]
    fn scale(x: F, n: F) -> F {
        map2(x, n, |x, n| {
            if n < -126.0 {
                0.0
            } else if n.is_nan() {
                n
            } else {
                x * f32::from_bits(((n as i32 + 127) as u32) << 23)
            }
        })
    }
    #[inline(always)]
    fn scale_normal(x: F, n: F) -> F {
        map2(x, n, |x, n| {
            f32::from_bits(x.to_bits().wrapping_add((n as i32 as u32) << 23))
        })
    }
    #[inline(always)]
    fn select(mask: u16, a: F, b: F) -> F {
        from_fn(|i| if mask >> i & 1 == 1 { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn exchange<const D: usize>(x: F) -> F {
        from_fn(|i| x[i ^ D])
    }
    #[inline(always)]
    fn greater(a: F, b: F) -> u16 {
        (0..LANES).fold(0, |mask, i| mask | u16::from(a[i] > b[i]) << i)
    }

    #[inline(always)]
    unsafe fn load_i(from: *const u8) -> I {
        // SAFETY: the caller's promise.
        unsafe { from.cast::<I>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store_i(to: *mut u8, x: I) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<I>().write_unaligned(x) }
    }
    #[inline(always)]
    fn splat_i(x: i32) -> I {
        [x; LANES]
    }
    #[inline(always)]
    fn add_i(a: I, b: I) -> I {
        from_fn(|i| a[i].wrapping_add(b[i]))
    }
    #[inline(always)]
    fn shift_right_8(x: I) -> I {
        x.map(|x| (x.cast_unsigned() >> 8).cast_signed())
    }
    #[inline(always)]
    fn low_nibbles(x: I) -> I {
        x.map(|x| x & 0x0f0f_0f0f)
    }
    #[inline(always)]
    fn high_nibbles(x: I) -> I {
        x.map(|x| x >> 4 & 0x0f0f_0f0f)
    }
    #[inline(always)]
    fn bits(x: F) -> I {
        x.map(|x| x.to_bits().cast_signed())
    }
    #[inline(always)]
    fn from_bits(x: I) -> F {
        x.map(|x| f32::from_bits(x.cast_unsigned()))
    }
    #[inline(always)]
    fn to_f(x: I) -> F {
        x.map(|x| x as f32)
    }
    #[inline(always)]
    fn to_i(x: F) -> I {
        x.map(|x| x.round_ties_even() as i32)
    }

    #[inline(always)]
    fn dot_u8i8(acc: I, a: I, b: I) -> I {
        from_fn(|i| {
            let (a, b) = (bytes(a[i]), bytes(b[i]));
            let products = a
                .iter()
                .zip(b)
                .map(|(&a, b)| i32::from(a) * i32::from(b as i8));
            acc[i].wrapping_add(products.sum())
        })
    }
    #[inline(always)]
    fn dot_bf16(acc: F, a: I, b: I) -> F {
        let high = |x: i32| wide((x >> 16) as u16);
        let low = |x: i32| wide(x as u16);
        from_fn(|i| {
            let acc = high(a[i]).mul_add(high(b[i]), acc[i]);
            low(a[i]).mul_add(low(b[i]), acc)
        })
    }

    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> F {
        // SAFETY: the caller's promise.
        unsafe { from.cast::<[u16; LANES]>().read_unaligned() }.map(from_f16)
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> F {
        // SAFETY: the caller's promise.
        unsafe { from.cast::<[u16; LANES]>().read_unaligned() }.map(wide)
    }
    #[inline(always)]
    unsafe fn store_bf16(to: *mut u16, x: F) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<[u16; LANES]>().write_unaligned(x.map(narrow)) }
    }
    #[inline(always)]
    unsafe fn store_i8(to: *mut i8, x: I) {
        let narrow = x.map(|x| x.clamp(-128, 127) as i8);
        // SAFETY: the caller's promise.
        unsafe { to.cast::<[i8; LANES]>().write_unaligned(narrow) }
    }
    #[inline(always)]
    unsafe fn store_low_bytes(to: *mut u8, x: I) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<[u8; LANES]>().write_unaligned(x.map(|x| x as u8)) }
    }
    #[inline(always)]
    unsafe fn load_u8(from: *const u8) -> I {
        // SAFETY: the caller's promise.
        unsafe { from.cast::<[u8; LANES]>().read_unaligned() }.map(i32::from)
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> I {
        // SAFETY: the caller's promise.
        unsafe { from.cast::<[i8; LANES]>().read_unaligned() }.map(i32::from)
    }
    #[inline(always)]
    fn prefetch(_address: *const u8) {}
}
