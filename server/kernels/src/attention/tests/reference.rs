//! Attention by its definition, in double precision.

use super::*;

/// Largest difference that rounding of weights to bfloat16, or 8 bits, explains for values of size 1.
fn tolerance(kind: KvKind) -> f64 {
    match kind {
        KvKind::Bf16 => 0.01,
        KvKind::Int8 => 0.06,
    }
}

fn round_bf16(x: f32) -> f64 {
    let bits = x.to_bits();
    f64::from(f32::from_bits(
        (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000,
    ))
}

/// One position and head: softmax(q · k) · v over the keys it sees.
fn attend_one(setting: &Setting, stream: &Stream, position: usize, head: usize) -> Vec<f64> {
    let dim = setting.head_dim;
    let round = |x: &f32| match setting.kind {
        KvKind::Bf16 => round_bf16(*x),
        KvKind::Int8 => f64::from(*x),
    };
    let cells = |cells: &[f32], heads: usize, position: usize, head: usize| -> Vec<f64> {
        let start = (position * heads + head) * dim;
        cells[start..start + dim].iter().map(round).collect()
    };
    let q = cells(&stream.q, setting.heads(), position, head);
    let kv_head = head / setting.group;
    let first = (position + 1).saturating_sub(setting.window.unwrap_or(usize::MAX));
    let scores: Vec<f64> = (first..=position)
        .map(|key| {
            let k = cells(&stream.k, setting.kv_heads, key, kv_head);
            let dot: f64 = q.iter().zip(&k).map(|(q, k)| q * k).sum();
            let score = dot * f64::from(setting.scale());
            setting.softcap.map_or(score, |cap| {
                f64::from(cap) * (score / f64::from(cap)).tanh()
            })
        })
        .collect();
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
    let total: f64 = weights.iter().sum();
    let mut out = vec![0.0; dim];
    for (key, weight) in (first..=position).zip(weights) {
        let v = cells(&stream.v, setting.kv_heads, key, kv_head);
        for (out, v) in out.iter_mut().zip(v) {
            *out += weight / total * v;
        }
    }
    out
}

fn assert_close(setting: &Setting, stream: &Stream, out: &[f32]) {
    let (heads, dim) = (setting.heads(), setting.head_dim);
    for position in (0..stream.len).step_by(7).chain([stream.len - 1]) {
        for head in 0..heads {
            let expected = attend_one(setting, stream, position, head);
            let start = (position * heads + head) * dim;
            for (value, expected) in out[start..start + dim].iter().zip(expected) {
                let error = (f64::from(*value) - expected).abs();
                let tolerance = tolerance(setting.kind);
                assert!(
                    error <= tolerance,
                    "{setting:?} at {position}: {value} {expected}"
                );
            }
        }
    }
}

fn settings(kind: KvKind) -> Vec<Setting> {
    [
        (3, 3, 64),
        (1, 4, 256),
        (2, 1, 32),
        (1, 8, 128),
        (1, 2, 80),
        (2, 2, 20),
        (1, 3, 96),
    ]
    .map(|(kv_heads, group, head_dim)| Setting::new(kind, kv_heads, group, head_dim))
    .to_vec()
}

fn check_all(kind: KvKind, change: impl Fn(Setting) -> Setting) {
    for setting in settings(kind).into_iter().map(change) {
        for isa in Isa::supported() {
            let setting = Setting { isa, ..setting };
            // The portable one is slow.
            let len = if isa == Isa::Portable { 260 } else { 530 };
            let stream = Stream::new(&setting, len, 1);
            assert_close(&setting, &stream, &alone(&setting, &stream, 100));
        }
    }
}

#[test]
fn bfloat16_attention_equals_its_definition() {
    check_all(KvKind::Bf16, |setting| setting);
}

#[test]
fn windowed_attention_equals_its_definition() {
    check_all(KvKind::Bf16, |setting| Setting {
        window: Some(130),
        ..setting
    });
}

#[test]
fn capped_attention_equals_its_definition() {
    check_all(KvKind::Bf16, |setting| Setting {
        softcap: Some(3.0),
        ..setting
    });
}

#[test]
fn attention_with_8_bits_is_close_to_its_definition() {
    check_all(KvKind::Int8, |setting| setting);
    check_all(KvKind::Int8, |setting| Setting {
        window: Some(130),
        softcap: Some(3.0),
        ..setting
    });
}
