//! The blocks of GGUF files: `block_q*` in llama.cpp's `ggml-common.h`, decoded as its
//! `dequantize_row_*` do.

use half::f16;

use super::{Group4, Group8};

/// The half-precision float that the bytes begin with.
pub(super) fn half(bytes: &[u8]) -> f32 {
    f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
}

pub(super) fn q8_0(block: &[u8]) -> Group8 {
    Group8 {
        codes: std::array::from_fn(|i| block[2 + i].cast_signed()),
        scale: half(block),
    }
}

pub(super) fn q4_0(block: &[u8]) -> Group4 {
    let scale = half(block);
    Group4 {
        codes: nibbles(&block[2..]),
        scale,
        minimum: -8.0 * scale,
    }
}

pub(super) fn q4_1(block: &[u8]) -> Group4 {
    Group4 {
        codes: nibbles(&block[4..]),
        scale: half(block),
        minimum: half(&block[2..]),
    }
}

/// Value i in the low, i + 16 in the high half of byte i.
fn nibbles(bytes: &[u8]) -> [u8; 32] {
    std::array::from_fn(|i| bytes[i % 16] >> (4 * (i / 16)) & 15)
}

pub(super) fn q5_0(block: &[u8], out: &mut [f32]) {
    let scale = half(block);
    let fifth = u32::from_le_bytes([block[2], block[3], block[4], block[5]]);
    for (i, (out, code)) in out.iter_mut().zip(nibbles(&block[6..])).enumerate() {
        let code = code | ((fifth >> i & 1) as u8) << 4;
        *out = scale * (f32::from(code) - 16.0);
    }
}

/// One of the 8 groups of 32 in a block: d, dmin f16, 12 bytes of 6-bit scales and minima, nibbles.
pub(super) fn q4_k(block: &[u8], group: usize) -> Group4 {
    let (scale, minimum) = scale_and_minimum(block, group);
    Group4 {
        codes: k_nibbles(&block[16..], group),
        scale,
        minimum,
    }
}

/// As [`q4_k`], with 32 bytes of fifth bits before the nibbles.
pub(super) fn q5_k(block: &[u8], out: &mut [f32]) {
    let fifth = &block[16..48];
    for (group, out) in out.chunks_exact_mut(32).enumerate() {
        let (scale, minimum) = scale_and_minimum(block, group);
        let codes = k_nibbles(&block[48..], group);
        for ((out, code), &bits) in out.iter_mut().zip(codes).zip(fifth) {
            let code = code | (bits >> group & 1) << 4;
            *out = scale.mul_add(f32::from(code), minimum);
        }
    }
}

/// Pairs of groups share 32 bytes: the first has the low halves.
fn k_nibbles(bytes: &[u8], group: usize) -> [u8; 32] {
    std::array::from_fn(|i| bytes[group / 2 * 32 + i] >> (4 * (group % 2)) & 15)
}

/// d * scale and -dmin * minimum of a group; both products are exact in single precision.
fn scale_and_minimum(block: &[u8], group: usize) -> (f32, f32) {
    let bits = &block[4..16];
    let (scale, minimum) = if group < 4 {
        (bits[group] & 63, bits[group + 4] & 63)
    } else {
        (
            bits[group + 4] & 15 | bits[group - 4] >> 6 << 4,
            bits[group + 4] >> 4 | bits[group] >> 6 << 4,
        )
    };
    (
        half(block) * f32::from(scale),
        -half(&block[2..]) * f32::from(minimum),
    )
}

/// Low halves [128], high bits [64], scales i8 [16], d f16: 16 groups of 16 values, which are
/// 6 bits less 32.
pub(super) fn q6_k(block: &[u8], out: &mut [f32]) {
    let scale = half(&block[208..]);
    for (i, out) in out.iter_mut().enumerate() {
        let (part, quarter, l) = (i / 128, i % 128 / 32, i % 32);
        let low = block[part * 64 + quarter % 2 * 32 + l] >> (4 * (quarter / 2)) & 15;
        let high = block[128 + part * 32 + l] >> (2 * quarter) & 3;
        let code = f32::from(low | high << 4) - 32.0;
        let group = block[192 + i / 16].cast_signed();
        *out = scale * f32::from(group) * code;
    }
}
