//! Attention of decoding, of prefill and over shared pages, beside the machine's limits.
//!
//! Each layer has keys and values of its own and together they are far larger than the caches, as in
//! a step of a model. Every case is first compared with attention by its definition. The limits are
//! measured right before: reading memory, and products of bfloat16 pairs from registers.
//!
//! `cargo bench -p kernels --bench attention -- "decode"` runs the cases whose name has that word.
#![expect(clippy::print_stdout, reason = "it reports")]
#![expect(unsafe_code, reason = "calls kernels that take addresses")]

mod case;
mod limits;

use std::cell::Cell;
use std::time::{Duration, Instant};

use case::{Case, Loaded};
use criterion::{Criterion, SamplingMode, criterion_group, criterion_main};
use kernels::attention::KvKind;
use kernels::threads::Team;
use limits::Limits;

const THREADS: usize = 2;

/// Decoding at 7,000 tokens with the shape of SmolLM2-135M.
const SMOLLM: Case = Case {
    name: "",
    kind: KvKind::Bf16,
    layers: 30,
    heads: 9,
    kv_heads: 3,
    head_dim: 64,
    sequences: 1,
    context: 7167,
    rows: 1,
    window: None,
    shared: 0,
    sharing: false,
};

/// The same with the shape of Gemma 3 270M.
const GEMMA: Case = Case {
    heads: 4,
    kv_heads: 1,
    head_dim: 256,
    layers: 18,
    ..SMOLLM
};

fn cases() -> Vec<Case> {
    let kind = |kind| move |case| Case { kind, ..case };
    let bf16 = decode().into_iter().chain(prefill()).chain(gemma());
    let int8 = bf16.clone().map(kind(KvKind::Int8));
    bf16.chain(int8).collect()
}

fn decode() -> [Case; 6] {
    [
        Case {
            name: "decode 1 at 512",
            context: 511,
            layers: 400,
            ..SMOLLM
        },
        Case {
            name: "decode 1 at 7k",
            ..SMOLLM
        },
        Case {
            name: "decode 32 at 512",
            sequences: 32,
            context: 511,
            layers: 12,
            ..SMOLLM
        },
        Case {
            name: "decode 8 at 7k",
            sequences: 8,
            layers: 6,
            ..SMOLLM
        },
        Case {
            name: "decode 8 on 7k shared, apart",
            sequences: 8,
            context: 7231,
            shared: 7168,
            ..SMOLLM
        },
        Case {
            name: "decode 8 on 7k shared, together",
            sequences: 8,
            context: 7231,
            shared: 7168,
            sharing: true,
            ..SMOLLM
        },
    ]
}

fn prefill() -> [Case; 4] {
    [
        Case {
            name: "prefill 512 at 0",
            rows: 512,
            context: 0,
            ..SMOLLM
        },
        Case {
            name: "prefill 512 at 2k",
            rows: 512,
            context: 1536,
            ..SMOLLM
        },
        Case {
            name: "prefill 512 at 7k",
            rows: 512,
            context: 6656,
            layers: 10,
            ..SMOLLM
        },
        Case {
            name: "prefill 32 at 7k",
            rows: 32,
            context: 7000,
            ..SMOLLM
        },
    ]
}

fn gemma() -> [Case; 3] {
    [
        Case {
            name: "gemma decode 1 at 7k",
            ..GEMMA
        },
        Case {
            name: "gemma decode 8 at 7k, window",
            layers: 12,
            sequences: 8,
            window: Some(512),
            ..GEMMA
        },
        Case {
            name: "gemma prefill 512 at 2k",
            rows: 512,
            context: 1536,
            ..GEMMA
        },
    ]
}

fn bench_attention(criterion: &mut Criterion) {
    let mut team = Team::new(THREADS.try_into().expect("not 0")).expect("threads");
    let limits = Limits::measure(&mut team);
    let mut group = criterion.benchmark_group("attention");
    group.sampling_mode(SamplingMode::Flat);
    println!("limits with {THREADS} threads: {limits}");
    for case in cases() {
        let name = format!("{:?} {}", case.kind, case.name);
        let best = Cell::new(Duration::MAX);
        let mut loaded = None;
        group.bench_function(&name, |bencher| {
            let loaded = loaded.get_or_insert_with(|| {
                let loaded = Loaded::new(case, &mut team);
                loaded.check();
                loaded
            });
            bencher.iter_custom(|rounds| {
                let start = Instant::now();
                for _ in 0..rounds {
                    let start = Instant::now();
                    loaded.run(&mut team);
                    best.set(best.get().min(start.elapsed()));
                }
                start.elapsed()
            });
        });
        if let Some(loaded) = loaded {
            println!("{}", limits.share(&loaded, best.get()));
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600));
    targets = bench_attention
}
criterion_main!(benches);
