//! Quantization of floats.

use half::f16;

use super::super::layout::CHUNK;
use super::super::source::{Group4, Group8};

/// Largest 8-bit code.
const LARGEST: f32 = 127.0;

/// 8-bit codes of a row and their scale, which is its largest magnitude / 127.
pub(super) fn int8(values: &[f32], codes: &mut Vec<i8>) -> f32 {
    let scale = magnitude(values) / LARGEST;
    codes.clear();
    codes.extend(values.iter().map(|&x| code8(x, scale)));
    scale
}

/// The same for up to 32 values; the scale is one of half precision.
pub(super) fn group8(values: &[f32]) -> Group8 {
    let scale = f16::from_f32(magnitude(values) / LARGEST).to_f32();
    let mut codes = [0; CHUNK];
    for (code, &x) in codes.iter_mut().zip(values) {
        *code = code8(x, scale);
    }
    Group8 { codes, scale }
}

fn magnitude(values: &[f32]) -> f32 {
    // Not `f32::max`, which would drop NaN.
    let larger = |a: f32, b: f32| {
        if b.abs() > a || b.is_nan() {
            b.abs()
        } else {
            a
        }
    };
    values.iter().copied().fold(0.0, larger)
}

fn code8(x: f32, scale: f32) -> i8 {
    if scale == 0.0 {
        return 0;
    }
    (x / scale).round_ties_even().clamp(-LARGEST, LARGEST) as i8
}

/// 4-bit codes of up to 32 values. Scale and minimum, both of half precision, are those with the
/// least squared error among a number of ranges, each improved by least squares on its codes; a
/// search like that of llama.cpp's `make_qkx2_quants`.
pub(super) fn group4(values: &[f32]) -> Group4 {
    let smallest = values.iter().copied().fold(f32::INFINITY, f32::min);
    let largest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if !values.iter().all(|x| x.is_finite()) {
        return Group4 {
            scale: f32::NAN,
            ..Group4::default()
        };
    }
    let mut best = with_range(values, (largest - smallest) / 15.0, smallest);
    let mut least = error(values, &best);
    for step in 0..=STEPS {
        let width = 15.0 - 1.0 + 2.0 * step as f32 / STEPS as f32;
        let scale = (largest - smallest) / width;
        let first = with_range(values, scale, smallest);
        let (scale, minimum) = fit(values, &first.codes);
        let candidate = with_range(values, scale, minimum);
        let found = error(values, &candidate);
        if found < least {
            (best, least) = (candidate, found);
        }
    }
    best
}

/// Ranges tried.
const STEPS: u32 = 20;

fn with_range(values: &[f32], scale: f32, minimum: f32) -> Group4 {
    let half = |x| f16::from_f32(x).to_f32();
    let (scale, minimum) = (half(scale), half(minimum));
    let mut codes = [0; CHUNK];
    if scale != 0.0 {
        for (code, &x) in codes.iter_mut().zip(values) {
            *code = ((x - minimum) / scale).round_ties_even().clamp(0.0, 15.0) as u8;
        }
    }
    Group4 {
        codes,
        scale,
        minimum,
    }
}

/// Scale and minimum of the least squared error for given codes.
fn fit(values: &[f32], codes: &[u8; CHUNK]) -> (f32, f32) {
    let count = values.len() as f32;
    let (mut sum_x, mut sum_q, mut sum_qq, mut sum_xq) = (0.0, 0.0, 0.0, 0.0);
    for (&x, &code) in values.iter().zip(codes) {
        let q = f32::from(code);
        sum_x += x;
        sum_q += q;
        sum_qq += q * q;
        sum_xq += x * q;
    }
    let determinant = count * sum_qq - sum_q * sum_q;
    if determinant <= 0.0 {
        return (0.0, sum_x / count);
    }
    let scale = (count * sum_xq - sum_x * sum_q) / determinant;
    (scale, (sum_x - scale * sum_q) / count)
}

fn error(values: &[f32], group: &Group4) -> f32 {
    let difference = |(&x, &code): (&f32, &u8)| {
        let y = group.scale.mul_add(f32::from(code), group.minimum);
        (x - y) * (x - y)
    };
    values.iter().zip(&group.codes).map(difference).sum()
}
