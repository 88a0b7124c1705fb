//! Vectors of 64 bytes and the instruction sets that compute with them.
//!
//! A kernel is written once, generic over [`Simd`], and compiled for every instruction set; which
//! one runs is decided at run time ([`Isa::detect`], [`Isa::run`]). Within one instruction set the
//! result of every operation is fixed to the bit; across them it may differ by rounding.
//!
//! The pattern (a trait whose methods are inlined into one `target_feature` entry point) is that of
//! the crates `pulp` and `memchr`. Kernels must be `#[inline(always)]` down to the intrinsics.
#![expect(unsafe_code, reason = "reads and writes by address")]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod isa;
mod portable;
#[cfg(test)]
mod tests;
pub(crate) mod tiles;

pub use isa::{Isa, Kernel, UnknownIsa};

/// 32-bit lanes of a vector.
pub const LANES: usize = 16;

/// Operations on vectors of 64 bytes: 16 floats (`F`), or integers (`I`) whose lanes the operation
/// names.
///
/// The methods are safe to call only inside [`Isa::run`], which alone names the implementations and
/// makes sure that the processor has the instructions. Those that take pointers have the contract
/// of a read or write of the bytes they name, unaligned.
#[expect(
    clippy::missing_safety_doc,
    reason = "the trait's own text says it once for all"
)]
pub trait Simd: Copy + Send + Sync + 'static {
    /// 16 floats.
    type F: Copy;
    /// 64 bytes of integers.
    type I: Copy;

    /// Vector registers there are, counted in vectors of 64 bytes: bounds the register blocks.
    const REGISTERS: usize;
    /// Whether [`tiles`] may be used. Products of bfloat16 are theirs then, for any number of rows, as
    /// they round otherwise than [`dot_bf16`](Self::dot_bf16).
    const TILES: bool = false;

    /// All lanes `x`.
    fn splat(x: f32) -> Self::F;
    /// Reads 16 floats.
    unsafe fn load(from: *const f32) -> Self::F;
    /// Writes 16 floats.
    unsafe fn store(to: *mut f32, x: Self::F);
    /// Reads the first `count` (at most 16) floats, 0 in the other lanes.
    unsafe fn load_first(from: *const f32, count: usize) -> Self::F;
    /// Writes the first `count` (at most 16) floats.
    unsafe fn store_first(to: *mut f32, x: Self::F, count: usize);
    /// a + b
    fn add(a: Self::F, b: Self::F) -> Self::F;
    /// a - b
    fn sub(a: Self::F, b: Self::F) -> Self::F;
    /// a * b
    fn mul(a: Self::F, b: Self::F) -> Self::F;
    /// a / b
    fn div(a: Self::F, b: Self::F) -> Self::F;
    /// a * b + c, rounded once.
    fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// The larger one; `b` where either is NaN.
    fn max(a: Self::F, b: Self::F) -> Self::F;
    /// The smaller one; `b` where either is NaN.
    fn min(a: Self::F, b: Self::F) -> Self::F;
    /// |x|
    fn abs(x: Self::F) -> Self::F;
    /// Nearest integer, ties to even.
    fn round(x: Self::F) -> Self::F;
    /// x * 2^n for whole n; 0 when that is below the normal range.
    fn scale(x: Self::F, n: Self::F) -> Self::F;
    /// x * 2^n for whole n, where both x and the result are normal numbers; NaN where x is.
    fn scale_normal(x: Self::F, n: Self::F) -> Self::F;
    /// Lane i is `a` where bit i of `mask` is set, else `b`.
    fn select(mask: u16, a: Self::F, b: Self::F) -> Self::F;
    /// Bit i says whether a > b in lane i.
    fn greater(a: Self::F, b: Self::F) -> u16;
    /// Lane i is lane i xor `D` of x; `D` is 1, 2, 4 or 8.
    fn exchange<const D: usize>(x: Self::F) -> Self::F;

    /// Reads 64 bytes.
    unsafe fn load_i(from: *const u8) -> Self::I;
    /// Writes 64 bytes.
    unsafe fn store_i(to: *mut u8, x: Self::I);
    /// All 32-bit lanes `x`.
    fn splat_i(x: i32) -> Self::I;
    /// a + b in 32-bit lanes, wrapping.
    fn add_i(a: Self::I, b: Self::I) -> Self::I;
    /// x / 2^8 in 32-bit lanes that are not negative, rounded down.
    fn shift_right_8(x: Self::I) -> Self::I;
    /// Low four bits of every byte.
    fn low_nibbles(x: Self::I) -> Self::I;
    /// High four bits of every byte, moved down.
    fn high_nibbles(x: Self::I) -> Self::I;
    /// The bits of floats.
    fn bits(x: Self::F) -> Self::I;
    /// Floats of these bits.
    fn from_bits(x: Self::I) -> Self::F;
    /// 32-bit integers to floats.
    fn to_f(x: Self::I) -> Self::F;
    /// Floats to 32-bit integers, nearest, ties to even.
    fn to_i(x: Self::F) -> Self::I;

    /// acc + the sum of four products of an unsigned byte of `a` and a signed byte of `b`, in each
    /// 32-bit lane; exact.
    fn dot_u8i8(acc: Self::I, a: Self::I, b: Self::I) -> Self::I;
    /// The same for bytes of `a` that are below 16.
    #[inline(always)]
    fn dot_u4i8(acc: Self::I, a: Self::I, b: Self::I) -> Self::I {
        Self::dot_u8i8(acc, a, b)
    }
    /// acc + the two products of bfloat16 pairs in each 32-bit lane: first the high pair, then the
    /// low one, each rounded to nearest.
    fn dot_bf16(acc: Self::F, a: Self::I, b: Self::I) -> Self::F;

    /// Reads 16 half-precision floats.
    unsafe fn load_f16(from: *const u16) -> Self::F;
    /// Reads 16 bfloat16.
    unsafe fn load_bf16(from: *const u16) -> Self::F;
    /// Writes 16 bfloat16, nearest, ties to even.
    unsafe fn store_bf16(to: *mut u16, x: Self::F);
    /// Writes 32-bit lanes as 16 signed bytes, saturated.
    unsafe fn store_i8(to: *mut i8, x: Self::I);
    /// Writes the lowest byte of each 32-bit lane.
    unsafe fn store_low_bytes(to: *mut u8, x: Self::I);
    /// Reads 16 unsigned bytes into 32-bit lanes.
    unsafe fn load_u8(from: *const u8) -> Self::I;
    /// Reads 16 signed bytes into 32-bit lanes.
    unsafe fn load_i8(from: *const i8) -> Self::I;

    /// Asks for a cache line in the second-level cache. Any address is allowed.
    fn prefetch(address: *const u8);

    /// Sum of all lanes: halves folded onto each other, so the same on every instruction set.
    #[inline(always)]
    fn sum(x: Self::F) -> f32 {
        let mut lanes = [0.0; LANES];
        // SAFETY: the array has 16 lanes.
        unsafe { Self::store(lanes.as_mut_ptr(), x) };
        fold(lanes, |a, b| a + b)
    }
    /// Largest lane.
    #[inline(always)]
    fn largest(x: Self::F) -> f32 {
        let mut lanes = [0.0; LANES];
        // SAFETY: the array has 16 lanes.
        unsafe { Self::store(lanes.as_mut_ptr(), x) };
        fold(lanes, f32::max)
    }

    /// 2^x to about 2e-7 relative for x in [-126, 127]; 0 below, and exactly 1 at 0.
    #[inline(always)]
    fn exp2(x: Self::F) -> Self::F {
        // NaN stays: `max` and `min` return their second argument then.
        let x = Self::min(Self::splat(127.49), Self::max(Self::splat(-200.0), x));
        let whole = Self::round(x);
        let rest = Self::sub(x, whole);
        let mut value = Self::splat(EXP2_TERMS[0]);
        for &term in &EXP2_TERMS[1..] {
            value = Self::fma(value, rest, Self::splat(term));
        }
        Self::scale(value, whole)
    }
}

/// Taylor terms ln(2)^i / i! of 2^x around 0, highest first; on [-0.5, 0.5] the rest is below 1.7e-7
/// of 2^x: (ln(2) / 2)^7 / 7! / sqrt(1 / 2).
const EXP2_TERMS: [f32; 7] = [
    1.540_353e-4,
    1.333_355_8e-3,
    9.618_129e-3,
    5.550_411e-2,
    2.402_265e-1,
    std::f32::consts::LN_2,
    1.0,
];

#[inline(always)]
fn fold(mut lanes: [f32; LANES], join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] = join(lanes[i], lanes[i + half]);
        }
        half /= 2;
    }
    lanes[0]
}
