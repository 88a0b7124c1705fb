//! Time to draw one token from a vocabulary of 151,936.

use criterion::{Criterion, criterion_group, criterion_main};
use kernels::sampler::{Row, Sampler, SamplingParams};

const VOCAB_SIZE: usize = 151_936;

/// Logits with a peak and a long tail, as models give them.
fn logits() -> Vec<f32> {
    let hash = |id: u32| id.wrapping_mul(2_654_435_761) as f32 / u32::MAX as f32;
    (0..VOCAB_SIZE as u32)
        .map(|id| 4.0 * hash(id) - 2.0 * (hash(id) * 1e4).ln())
        .collect()
}

fn bench_draw(criterion: &mut Criterion) {
    let logits = logits();
    let warm = SamplingParams {
        temperature: 0.8,
        ..SamplingParams::default()
    };
    let cases = [
        ("greedy", SamplingParams::default()),
        (
            "greedy, 5 top tokens",
            SamplingParams {
                top_n: 5,
                ..SamplingParams::default()
            },
        ),
        ("temperature", warm),
        ("top-k 50", SamplingParams { top_k: 50, ..warm }),
        (
            "top-p 0.95",
            SamplingParams {
                top_p: 0.95,
                ..warm
            },
        ),
        (
            "typical 0.9",
            SamplingParams {
                typical_p: 0.9,
                ..warm
            },
        ),
        (
            "repetition penalty",
            SamplingParams {
                repetition_penalty: 1.1,
                ..warm
            },
        ),
    ];
    let prompt: Vec<u32> = (0..2_000).collect();
    for (name, params) in cases {
        let mut sampler = Sampler::new(VOCAB_SIZE, 1);
        sampler
            .open(0, params, &prompt, &[])
            .expect("the parameters are in range");
        let row = Row {
            slot: 0,
            position: 9,
        };
        criterion.bench_function(name, |b| b.iter(|| sampler.sample(&logits, &[row])));
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = bench_draw
}
criterion_main!(benches);
