//! Every instruction set equals the portable one.
#![expect(unsafe_code, reason = "reads and writes by address")]

use super::{Isa, Kernel, LANES, Simd};
use proptest::prelude::*;

/// What each operation makes of the same 64-byte inputs.
struct Operations {
    floats: [[f32; LANES]; 3],
    bytes: [[u8; 64]; 3],
    mask: u16,
}

#[derive(Debug, PartialEq)]
struct Results {
    floats: Vec<[u32; LANES]>,
    integers: Vec<[u8; 64]>,
    masks: Vec<u16>,
}

fn out_f<S: Simd>(x: S::F) -> [u32; LANES] {
    let mut lanes = [0.0; LANES];
    unsafe { S::store(lanes.as_mut_ptr(), x) };
    // Which NaN it is says nothing.
    lanes.map(|lane: f32| if lane.is_nan() { 1 } else { lane.to_bits() })
}

fn out_i<S: Simd>(x: S::I) -> [u8; 64] {
    let mut bytes = [0; 64];
    unsafe { S::store_i(bytes.as_mut_ptr(), x) };
    bytes
}

impl Kernel for Operations {
    type Output = Results;

    #[inline(always)]
    fn run<S: Simd>(self) -> Results {
        let [a, b, c] = self.floats.map(|lanes| unsafe { S::load(lanes.as_ptr()) });
        let [i, j, k] = self.bytes.map(|bytes| unsafe { S::load_i(bytes.as_ptr()) });
        let halves: [u16; LANES] = std::array::from_fn(|lane| {
            u16::from_le_bytes([self.bytes[0][2 * lane], self.bytes[0][2 * lane + 1]])
        });
        // Beyond 32 bits instruction sets differ; the second argument wins over NaN.
        let bounded = S::max(S::min(S::splat(1e9), a), S::splat(-1e9));
        let small = S::to_i(S::mul(bounded, S::splat(0.37)));
        let mut stored = [0u16; LANES];
        unsafe { S::store_bf16(stored.as_mut_ptr(), a) };
        let mut narrow = [0i8; LANES];
        unsafe { S::store_i8(narrow.as_mut_ptr(), S::add_i(i, j)) };
        let mut low = [0u8; LANES];
        unsafe { S::store_low_bytes(low.as_mut_ptr(), i) };
        let mut part = [7.0; LANES];
        unsafe { S::store_first(part.as_mut_ptr(), a, usize::from(self.mask % 17)) };
        Results {
            floats: vec![
                out_f::<S>(S::add(a, b)),
                out_f::<S>(S::sub(a, b)),
                out_f::<S>(S::mul(a, b)),
                out_f::<S>(S::div(a, b)),
                out_f::<S>(S::fma(a, b, c)),
                out_f::<S>(S::max(a, b)),
                out_f::<S>(S::min(a, b)),
                out_f::<S>(S::abs(a)),
                out_f::<S>(S::round(a)),
                out_f::<S>(S::select(self.mask, a, b)),
                out_f::<S>(S::exchange::<1>(a)),
                out_f::<S>(S::exchange::<2>(a)),
                out_f::<S>(S::exchange::<4>(a)),
                out_f::<S>(S::exchange::<8>(a)),
                out_f::<S>(S::to_f(i)),
                out_f::<S>(unsafe { S::load_f16(halves.as_ptr()) }),
                out_f::<S>(unsafe { S::load_bf16(halves.as_ptr()) }),
                out_f::<S>(unsafe { S::load_first(part.as_ptr(), usize::from(self.mask % 17)) }),
                out_f::<S>(unsafe { S::load(part.as_ptr()) }),
                out_f::<S>(S::splat(S::sum(S::min(
                    S::splat(9.0),
                    S::max(S::splat(-9.0), a),
                )))),
                out_f::<S>(S::splat(S::largest(S::to_f(j)))),
            ],
            integers: vec![
                out_i::<S>(S::add_i(i, j)),
                out_i::<S>(S::shift_right_8(i)),
                out_i::<S>(S::low_nibbles(i)),
                out_i::<S>(S::high_nibbles(i)),
                out_i::<S>(S::bits(S::from_bits(i))),
                out_i::<S>(S::dot_u8i8(k, i, j)),
                out_i::<S>(S::dot_u4i8(k, S::low_nibbles(i), j)),
                out_i::<S>(small),
                out_i::<S>(unsafe { S::load_u8(self.bytes[2].as_ptr()) }),
                out_i::<S>(unsafe { S::load_i8(self.bytes[2].as_ptr().cast()) }),
                out_i::<S>(unsafe { S::load_i([stored; 2].as_ptr().cast()) }),
                out_i::<S>(unsafe { S::load_i([narrow; 4].as_ptr().cast()) }),
                out_i::<S>(unsafe { S::load_i([low; 4].as_ptr().cast()) }),
            ],
            masks: vec![S::greater(a, b)],
        }
    }
}

fn floats() -> impl Strategy<Value = [f32; LANES]> {
    let usual = -1e4f32..1e4;
    let any = prop::num::f32::NORMAL | prop::num::f32::ZERO | prop::num::f32::INFINITE;
    prop::array::uniform16(prop_oneof![8 => usual, 1 => any, 1 => Just(f32::NAN)])
}

proptest! {
    #[test]
    fn instruction_sets_agree_with_the_portable_one(
        floats in prop::array::uniform3(floats()),
        bytes in prop::array::uniform3(prop::array::uniform32(any::<[u8; 2]>())),
        mask in any::<u16>(),
    ) {
        let bytes = bytes.map(|pairs| std::array::from_fn(|i| pairs[i / 2][i % 2]));
        let run = |isa: Isa| isa.run(Operations { floats, bytes, mask });
        let expected = run(Isa::Portable);
        for isa in Isa::supported() {
            prop_assert_eq!(&run(isa), &expected, "{}", isa);
        }
    }

    #[test]
    fn bfloat16_products_agree(
        acc in prop::array::uniform16(-1e3f32..1e3),
        a in prop::array::uniform32(-1e3f32..1e3),
        b in prop::array::uniform32(-1e3f32..1e3),
    ) {
        let run = |isa: Isa| isa.run(Pairs { acc, a, b });
        let expected = run(Isa::Portable);
        for isa in Isa::supported() {
            prop_assert_eq!(run(isa), expected, "{}", isa);
        }
    }

    #[test]
    fn powers_of_two_are_close(x in -126.0f32..127.0) {
        for isa in Isa::supported() {
            let power = isa.run(Exp2(x));
            let exact = f64::from(x).exp2();
            // The rest of the series, and what rounding adds.
            prop_assert!((f64::from(power) - exact).abs() <= 3e-7 * exact, "{isa}: {x} {power}");
        }
    }
}

struct Pairs {
    acc: [f32; LANES],
    a: [f32; 32],
    b: [f32; 32],
}

impl Kernel for Pairs {
    type Output = [u32; LANES];

    #[inline(always)]
    fn run<S: Simd>(self) -> [u32; LANES] {
        let pack = |x: [f32; 32]| unsafe {
            let mut halves = [0u16; 32];
            S::store_bf16(halves.as_mut_ptr(), S::load(x.as_ptr()));
            S::store_bf16(halves.as_mut_ptr().add(16), S::load(x.as_ptr().add(16)));
            S::load_i(halves.as_ptr().cast())
        };
        out_f::<S>(S::dot_bf16(
            unsafe { S::load(self.acc.as_ptr()) },
            pack(self.a),
            pack(self.b),
        ))
    }
}

/// x * 2^n.
struct ScaleNormal(f32, f32);

impl Kernel for ScaleNormal {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self) -> f32 {
        S::largest(S::scale_normal(S::splat(self.0), S::splat(self.1)))
    }
}

#[test]
fn normal_numbers_are_scaled_exactly() {
    for isa in Isa::supported() {
        for (x, n) in [(1.0, -126.0), (1.5, 127.0), (-0.75, 3.0), (1.25, 0.0)] {
            let expected = f64::from(x) * f64::from(n).exp2();
            assert_eq!(
                f64::from(isa.run(ScaleNormal(x, n))),
                expected,
                "{isa}: {x} {n}"
            );
        }
    }
}

struct Exp2(f32);

impl Kernel for Exp2 {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self) -> f32 {
        S::largest(S::exp2(S::splat(self.0)))
    }
}

#[test]
fn powers_of_two_have_exact_borders() {
    for isa in Isa::supported() {
        for (x, expected) in [
            (0.0, 1.0),
            (-1000.0, 0.0),
            (f32::NEG_INFINITY, 0.0),
            (3.0, 8.0),
        ] {
            assert_eq!(isa.run(Exp2(x)), expected, "{isa}: {x}");
        }
    }
}

#[test]
fn names_are_read_back() {
    for isa in Isa::ALL {
        assert_eq!(isa.to_string().parse(), Ok(isa));
    }
    assert!("sse9".parse::<Isa>().is_err());
}
