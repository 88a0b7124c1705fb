//! Time to draw one token from a row of logits, of the vocabularies of SmolLM2 and of Gemma 3.

use criterion::{Criterion, criterion_group, criterion_main};
use kernels::sampler::{Row, Sampler, SamplingParams};
use kernels::simd::Isa;

const VOCAB_SIZES: [usize; 2] = [49_152, 262_144];

/// Logits with a peak and a long tail, as models give them.
fn logits(vocab_size: usize) -> Vec<f32> {
    let hash = |id: u32| id.wrapping_mul(2_654_435_761) as f32 / u32::MAX as f32;
    (1..=vocab_size as u32)
        .map(|id| 4.0 * hash(id) - 2.0 * (hash(id) * 1e4).ln())
        .collect()
}

fn cases() -> [(&'static str, SamplingParams); 7] {
    let greedy = SamplingParams::default();
    let warm = SamplingParams {
        temperature: 0.8,
        ..greedy
    };
    let top_n = SamplingParams { top_n: 5, ..greedy };
    let top_k = SamplingParams { top_k: 50, ..warm };
    let top_p = SamplingParams {
        top_p: 0.95,
        ..warm
    };
    let typical = SamplingParams {
        typical_p: 0.9,
        ..warm
    };
    let penalty = SamplingParams {
        repetition_penalty: 1.1,
        ..warm
    };
    [
        ("greedy", greedy),
        ("greedy, 5 top tokens", top_n),
        ("temperature", warm),
        ("top-k 50", top_k),
        ("top-p 0.95", top_p),
        ("typical 0.9", typical),
        ("repetition penalty", penalty),
    ]
}

fn bench_draw(criterion: &mut Criterion) {
    let prompt: Vec<u32> = (0..2_000).collect();
    for vocab_size in VOCAB_SIZES {
        let logits = logits(vocab_size);
        for (name, params) in cases() {
            let mut sampler = Sampler::new(vocab_size, 1);
            sampler
                .open(0, params, &prompt, &[])
                .expect("the parameters are in range");
            let row = Row {
                slot: 0,
                position: 9,
                mask: None,
            };
            let id = format!("{name}, {vocab_size}");
            criterion.bench_function(&id, |b| b.iter(|| sampler.sample(&logits, &[row])));
        }
    }
}

/// The most common draw on every instruction set of this processor.
fn bench_isas(criterion: &mut Criterion) {
    let vocab_size = VOCAB_SIZES[0];
    let logits = logits(vocab_size);
    for isa in Isa::supported() {
        let mut sampler = Sampler::with_isa(vocab_size, 1, isa);
        sampler
            .open(0, SamplingParams::default(), &[], &[])
            .expect("the parameters are in range");
        let row = Row {
            slot: 0,
            position: 9,
            mask: None,
        };
        let id = format!("greedy, {vocab_size}, {isa}");
        criterion.bench_function(&id, |b| b.iter(|| sampler.sample(&logits, &[row])));
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = bench_draw, bench_isas
}
criterion_main!(benches);
