//! A token's logits depend on nothing but the tokens before it, to the bit.

mod rig;

use proptest::prelude::*;

use super::{QkNorm, WeightChoice};
use crate::attention::KvKind;
use crate::simd::Isa;
use rig::{Rig, Shape, Work};

/// One way to compute the same sequences.
#[derive(Debug, Clone)]
struct Case {
    shape: Shape,
    /// Of the sequences, all beginning with the same `shared` tokens.
    lengths: Vec<usize>,
    shared: usize,
    /// Chunk sizes, used in turn by all sequences.
    chunks: Vec<usize>,
    /// How many sequences start together; the others follow as these end.
    batch: usize,
    threads: usize,
    sharing: bool,
    seed: u64,
}

fn shapes() -> impl Strategy<Value = Shape> {
    let weights = prop_oneof![
        Just(WeightChoice::Bf16),
        Just(WeightChoice::Int8),
        Just(WeightChoice::Int4)
    ];
    let isas: Vec<Isa> = Isa::supported().collect();
    (
        weights,
        prop_oneof![Just(KvKind::Bf16), Just(KvKind::Int8)],
        prop::sample::select(isas),
        prop::sample::select(vec![(2, 1, 16), (4, 2, 32), (3, 3, 24), (6, 2, 64)]),
        prop_oneof![Just(None), (1usize..400).prop_map(Some)],
        prop_oneof![
            Just(QkNorm::None),
            Just(QkNorm::Head),
            Just(QkNorm::Projection)
        ],
        any::<[bool; 4]>(),
    )
        .prop_map(
            |(weights, kv, isa, heads, window, qk_norm, switches)| Shape {
                weights,
                kv,
                isa,
                heads,
                window,
                qk_norm,
                post_norms: switches[0],
                biases: switches[1],
                tied: switches[2],
                softcaps: switches[3],
            },
        )
}

fn cases() -> impl Strategy<Value = Case> {
    // Across the border of a block of 256 keys now and then.
    let length = prop_oneof![3 => 1usize..70, 1 => 230usize..300];
    let chunk = prop_oneof![
        Just(1),
        Just(16),
        Just(32),
        Just(100),
        1usize..40,
        Just(512)
    ];
    (
        shapes(),
        prop::collection::vec(length, 1..6),
        prop_oneof![Just(0), 1usize..100],
        prop::collection::vec(chunk, 1..4),
        1usize..6,
        1usize..4,
        any::<bool>(),
        any::<u64>(),
    )
        .prop_map(
            |(shape, lengths, shared, chunks, batch, threads, sharing, seed)| Case {
                shape,
                lengths,
                shared,
                chunks,
                batch,
                threads,
                sharing,
                seed,
            },
        )
}

/// Token by token, alone, on one thread: what all else must equal.
fn reference(case: &Case, tokens: &[Vec<u32>]) -> Vec<Vec<Vec<u32>>> {
    let mut rig = Rig::new(&case.shape, 1, false, case.seed);
    tokens
        .iter()
        .map(|tokens| {
            let mut sequence = rig.start(tokens.clone());
            let rows = (0..tokens.len())
                .flat_map(|_| rig.step(&mut [Work::new(&mut sequence, 1)]))
                .flatten()
                .collect();
            rig.end(sequence);
            rows
        })
        .collect()
}

fn run(case: &Case, tokens: &[Vec<u32>]) -> Vec<Vec<Vec<u32>>> {
    let mut rig = Rig::new(&case.shape, case.threads, case.sharing, case.seed ^ 1);
    let mut sequences: Vec<_> = tokens
        .iter()
        .map(|tokens| rig.start(tokens.clone()))
        .collect();
    let mut rows = vec![Vec::new(); tokens.len()];
    let mut chunks = case.chunks.iter().cycle();
    while sequences.iter().any(|sequence| !sequence.is_done()) {
        let running = sequences
            .iter_mut()
            .enumerate()
            .filter(|(_, s)| !s.is_done());
        let (indices, mut work): (Vec<_>, Vec<_>) = running
            .take(case.batch)
            .map(|(index, s)| (index, Work::new(s, *chunks.next().expect("a cycle"))))
            .unzip();
        for (index, logits) in indices.into_iter().zip(rig.step(&mut work)) {
            rows[index].extend(logits);
        }
    }
    rows
}

proptest! {
    // Twice PROPTEST_CASES, or 512: `make test-exactness` asks for many more.
    #![proptest_config(ProptestConfig::with_cases(2 * ProptestConfig::default().cases))]

    #[test]
    fn logits_are_those_of_the_tokens_alone(case in cases()) {
        let tokens = rig::sequences(&case.lengths, case.shared, case.seed);
        prop_assert_eq!(run(&case, &tokens), reference(&case, &tokens));
    }

    #[test]
    fn a_sequence_goes_on_from_pages_of_another(
        shape in shapes(), length in 2usize..300, cut in 1usize..300, seed in any::<u64>(),
    ) {
        let tokens = rig::sequences(&[length], 0, seed).remove(0);
        let cut = cut.min(length - 1);
        let mut rig = Rig::new(&shape, 2, true, seed);
        let mut cold = rig.start(tokens.clone());
        let expected = rig.step(&mut [Work::new(&mut cold, length)]).remove(0);
        // As after a hit that ends inside a page: that page is copied, the others are shared.
        let mut warm = rig.go_on(&cold, cut);
        let logits = rig.step(&mut [Work::new(&mut warm, length)]).remove(0);
        prop_assert_eq!(logits, &expected[cut..]);
    }
}
