//! AVX2 with FMA and F16C: a vector of 64 bytes is two registers.
#![expect(unsafe_code, reason = "vector instructions")]

use std::arch::x86_64::*;

use super::{LANES, Simd};

/// AVX2, FMA, F16C.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx2;

/// Both halves of a float vector.
#[derive(Debug, Clone, Copy)]
pub(super) struct Floats(__m256, __m256);

/// Both halves of an integer vector.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes(__m256i, __m256i);

impl Floats {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(__m256, __m256) -> __m256) -> Self {
        Self(f(self.0, other.0), f(self.1, other.1))
    }
    #[inline(always)]
    fn map(self, f: impl Fn(__m256) -> __m256) -> Self {
        Self(f(self.0), f(self.1))
    }
}

impl Bytes {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(__m256i, __m256i) -> __m256i) -> Self {
        Self(f(self.0, other.0), f(self.1, other.1))
    }
    #[inline(always)]
    fn map(self, f: impl Fn(__m256i) -> __m256i) -> Self {
        Self(f(self.0), f(self.1))
    }
}

// SAFETY of every block below: the instructions are there, which `Isa::run` made sure of; pointers
// are the caller's promise.
impl Simd for Avx2 {
    type F = Floats;
    type I = Bytes;

    const REGISTERS: usize = 8;

    #[inline(always)]
    fn splat(x: f32) -> Floats {
        let half = unsafe { _mm256_set1_ps(x) };
        Floats(half, half)
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Floats {
        unsafe { Floats(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, x: Floats) {
        unsafe {
            _mm256_storeu_ps(to, x.0);
            _mm256_storeu_ps(to.add(8), x.1);
        }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Floats {
        if count == LANES {
            return unsafe { Self::load(from) };
        }
        let mut lanes = [0.0; LANES];
        unsafe {
            std::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), count);
            Self::load(lanes.as_ptr())
        }
    }
    #[inline(always)]
    unsafe fn store_first(to: *mut f32, x: Floats, count: usize) {
        if count == LANES {
            return unsafe { Self::store(to, x) };
        }
        let mut lanes = [0.0; LANES];
        unsafe {
            Self::store(lanes.as_mut_ptr(), x);
            std::ptr::copy_nonoverlapping(lanes.as_ptr(), to, count);
        }
    }
    #[inline(always)]
    fn add(a: Floats, b: Floats) -> Floats {
        a.zip(b, |a, b| unsafe { _mm256_add_ps(a, b) })
    }
    #[inline(always)]
    fn sub(a: Floats, b: Floats) -> Floats {
        a.zip(b, |a, b| unsafe { _mm256_sub_ps(a, b) })
    }
    #[inline(always)]
    fn mul(a: Floats, b: Floats) -> Floats {
        a.zip(b, |a, b| unsafe { _mm256_mul_ps(a, b) })
    }
    #[inline(always)]
    fn div(a: Floats, b: Floats) -> Floats {
        a.zip(b, |a, b| unsafe { _mm256_div_ps(a, b) })
    }
    #[inline(always)]
    fn fma(a: Floats, b: Floats, c: Floats) -> Floats {
        unsafe {
            Floats(
                _mm256_fmadd_ps(a.0, b.0, c.0),
                _mm256_fmadd_ps(a.1, b.1, c.1),
            )
        }
    }
    #[inline(always)]
    fn max(a: Floats, b: Floats) -> Floats {
        a.zip(b, |a, b| unsafe { _mm256_max_ps(a, b) })
    }
    #[inline(always)]
    fn min(a: Floats, b: Floats) -> Floats {
        a.zip(b, |a, b| unsafe { _mm256_min_ps(a, b) })
    }
    #[inline(always)]
    fn abs(x: Floats) -> Floats {
        x.map(|x| unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), x) })
    }
    #[inline(always)]
    fn round(x: Floats) -> Floats {
        x.map(|x| unsafe {
            _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x)
        })
    }
    #[inline(always)]
    fn scale(x: Floats, n: Floats) -> Floats {
        x.zip(n, |x, n| unsafe {
            let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            let power = _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent));
            let below = _mm256_cmp_ps::<_CMP_LT_OQ>(n, _mm256_set1_ps(-126.0));
            let nan = _mm256_cmp_ps::<_CMP_UNORD_Q>(n, n);
            let scaled = _mm256_andnot_ps(below, _mm256_mul_ps(x, power));
            _mm256_blendv_ps(scaled, n, nan)
        })
    }
    #[inline(always)]
    fn scale_normal(x: Floats, n: Floats) -> Floats {
        x.zip(n, |x, n| unsafe {
            let exponent = _mm256_slli_epi32::<23>(_mm256_cvtps_epi32(n));
            _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), exponent))
        })
    }
    #[inline(always)]
    fn select(mask: u16, a: Floats, b: Floats) -> Floats {
        let half = |mask: u16, a, b| unsafe {
            let bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
            let set = _mm256_and_si256(_mm256_set1_epi32(i32::from(mask)), bits);
            let lanes = _mm256_castsi256_ps(_mm256_cmpeq_epi32(set, bits));
            _mm256_blendv_ps(b, a, lanes)
        };
        Floats(half(mask & 0xff, a.0, b.0), half(mask >> 8, a.1, b.1))
    }
    #[inline(always)]
    fn greater(a: Floats, b: Floats) -> u16 {
        let half = |a, b| unsafe { _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(a, b)) as u16 };
        half(a.0, b.0) | half(a.1, b.1) << 8
    }
    #[inline(always)]
    fn exchange<const D: usize>(x: Floats) -> Floats {
        match D {
            1 => x.map(|x| unsafe { _mm256_permute_ps::<0b10_11_00_01>(x) }),
            2 => x.map(|x| unsafe { _mm256_permute_ps::<0b01_00_11_10>(x) }),
            4 => x.map(|x| unsafe { _mm256_permute2f128_ps::<1>(x, x) }),
            _ => Floats(x.1, x.0),
        }
    }

    #[inline(always)]
    unsafe fn load_i(from: *const u8) -> Bytes {
        let from: *const __m256i = from.cast();
        unsafe { Bytes(_mm256_loadu_si256(from), _mm256_loadu_si256(from.add(1))) }
    }
    #[inline(always)]
    unsafe fn store_i(to: *mut u8, x: Bytes) {
        let to: *mut __m256i = to.cast();
        unsafe {
            _mm256_storeu_si256(to, x.0);
            _mm256_storeu_si256(to.add(1), x.1);
        }
    }
    #[inline(always)]
    fn splat_i(x: i32) -> Bytes {
        let half = unsafe { _mm256_set1_epi32(x) };
        Bytes(half, half)
    }
    #[inline(always)]
    fn add_i(a: Bytes, b: Bytes) -> Bytes {
        a.zip(b, |a, b| unsafe { _mm256_add_epi32(a, b) })
    }
    #[inline(always)]
    fn shift_right_8(x: Bytes) -> Bytes {
        x.map(|x| unsafe { _mm256_srli_epi32::<8>(x) })
    }
    #[inline(always)]
    fn low_nibbles(x: Bytes) -> Bytes {
        x.map(|x| unsafe { _mm256_and_si256(x, _mm256_set1_epi8(0x0f)) })
    }
    #[inline(always)]
    fn high_nibbles(x: Bytes) -> Bytes {
        x.map(|x| unsafe { _mm256_and_si256(_mm256_srli_epi16::<4>(x), _mm256_set1_epi8(0x0f)) })
    }
    #[inline(always)]
    fn bits(x: Floats) -> Bytes {
        unsafe { Bytes(_mm256_castps_si256(x.0), _mm256_castps_si256(x.1)) }
    }
    #[inline(always)]
    fn from_bits(x: Bytes) -> Floats {
        unsafe { Floats(_mm256_castsi256_ps(x.0), _mm256_castsi256_ps(x.1)) }
    }
    #[inline(always)]
    fn to_f(x: Bytes) -> Floats {
        unsafe { Floats(_mm256_cvtepi32_ps(x.0), _mm256_cvtepi32_ps(x.1)) }
    }
    #[inline(always)]
    fn to_i(x: Floats) -> Bytes {
        unsafe { Bytes(_mm256_cvtps_epi32(x.0), _mm256_cvtps_epi32(x.1)) }
    }

    #[inline(always)]
    fn dot_u8i8(acc: Bytes, a: Bytes, b: Bytes) -> Bytes {
        let products = a.zip(b, |a, b| unsafe {
            // Two products of 255 and 127 overflow 16 bits: even and odd bytes apart.
            let a_even = _mm256_and_si256(a, _mm256_set1_epi16(0xff));
            let a_odd = _mm256_srli_epi16::<8>(a);
            let b_even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(b));
            let b_odd = _mm256_srai_epi16::<8>(b);
            _mm256_add_epi32(
                _mm256_madd_epi16(a_even, b_even),
                _mm256_madd_epi16(a_odd, b_odd),
            )
        });
        Self::add_i(acc, products)
    }
    #[inline(always)]
    fn dot_u4i8(acc: Bytes, a: Bytes, b: Bytes) -> Bytes {
        let products = a.zip(b, |a, b| unsafe {
            _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), _mm256_set1_epi16(1))
        });
        Self::add_i(acc, products)
    }
    #[inline(always)]
    fn dot_bf16(acc: Floats, a: Bytes, b: Bytes) -> Floats {
        let half = |acc, a, b| unsafe {
            let high = |x| _mm256_castsi256_ps(_mm256_and_si256(x, _mm256_set1_epi32(!0xffff)));
            let low = |x| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(x));
            let acc = _mm256_fmadd_ps(high(a), high(b), acc);
            _mm256_fmadd_ps(low(a), low(b), acc)
        };
        Floats(half(acc.0, a.0, b.0), half(acc.1, a.1, b.1))
    }

    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> Floats {
        let from: *const __m128i = from.cast();
        unsafe {
            Floats(
                _mm256_cvtph_ps(_mm_loadu_si128(from)),
                _mm256_cvtph_ps(_mm_loadu_si128(from.add(1))),
            )
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> Floats {
        let from: *const __m128i = from.cast();
        let half =
            |x| unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(x))) };
        unsafe {
            Floats(
                half(_mm_loadu_si128(from)),
                half(_mm_loadu_si128(from.add(1))),
            )
        }
    }
    #[inline(always)]
    unsafe fn store_bf16(to: *mut u16, x: Floats) {
        let half = |x: __m256| unsafe {
            let bits = _mm256_castps_si256(x);
            let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
            let bias = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
            let rounded = _mm256_srli_epi32::<16>(_mm256_add_epi32(bits, bias));
            // A NaN must not round to infinity.
            let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(x, x));
            _mm256_blendv_epi8(rounded, _mm256_set1_epi32(0x7fc0), nan)
        };
        unsafe {
            let packed = _mm256_packus_epi32(half(x.0), half(x.1));
            _mm256_storeu_si256(to.cast(), _mm256_permute4x64_epi64::<0b11_01_10_00>(packed));
        }
    }
    #[inline(always)]
    unsafe fn store_i8(to: *mut i8, x: Bytes) {
        unsafe {
            let words = _mm256_packs_epi32(x.0, x.1);
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(words);
            let low = _mm256_castsi256_si128(words);
            let high = _mm256_extracti128_si256::<1>(words);
            _mm_storeu_si128(to.cast(), _mm_packs_epi16(low, high));
        }
    }
    #[inline(always)]
    unsafe fn store_low_bytes(to: *mut u8, x: Bytes) {
        unsafe {
            let low = x.map(|x| _mm256_and_si256(x, _mm256_set1_epi32(0xff)));
            let words = _mm256_packus_epi32(low.0, low.1);
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(words);
            let low = _mm256_castsi256_si128(words);
            let high = _mm256_extracti128_si256::<1>(words);
            _mm_storeu_si128(to.cast(), _mm_packus_epi16(low, high));
        }
    }
    #[inline(always)]
    unsafe fn load_u8(from: *const u8) -> Bytes {
        unsafe {
            Bytes(
                _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast())),
                _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.add(8).cast())),
            )
        }
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> Bytes {
        unsafe {
            Bytes(
                _mm256_cvtepi8_epi32(_mm_loadl_epi64(from.cast())),
                _mm256_cvtepi8_epi32(_mm_loadl_epi64(from.add(8).cast())),
            )
        }
    }
    #[inline(always)]
    fn prefetch(address: *const u8) {
        unsafe { _mm_prefetch::<_MM_HINT_T1>(address.cast()) }
    }
}
