//! A token's logits depend on nothing but the tokens before it, to the bit.

mod rig;

use proptest::prelude::*;

use super::{QkNorm, WeightChoice};
use crate::attention::KvKind;
use crate::simd::Isa;
use rig::{Rig, Sequence, Shape, Work};

/// Sequences of a case.
const MOST_SEQUENCES: usize = 32;

/// One way to compute the same sequences.
#[derive(Debug, Clone)]
struct Case {
    shape: Shape,
    /// Tokens that all sequences begin with.
    shared: usize,
    /// Tokens of each after those.
    lengths: Vec<usize>,
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
    let chunk = prop_oneof![
        Just(1),
        Just(16),
        Just(32),
        Just(100),
        1usize..40,
        Just(usize::MAX)
    ];
    (
        shapes(),
        sequences(),
        prop::collection::vec(chunk, 1..4),
        1usize..=MOST_SEQUENCES,
        1usize..4,
        any::<bool>(),
        any::<u64>(),
    )
        .prop_map(
            |(shape, (shared, lengths), chunks, batch, threads, sharing, seed)| Case {
                shape,
                shared,
                batch: batch.min(lengths.len()),
                lengths,
                chunks,
                threads,
                sharing,
                seed,
            },
        )
}

/// What is shared and what is not: few long sequences, across the border of a block of 256 keys now
/// and then, or many short ones.
fn sequences() -> impl Strategy<Value = (usize, Vec<usize>)> {
    let length = prop_oneof![3 => 1usize..70, 1 => 230usize..300];
    let shared = prop_oneof![3 => Just(0), 3 => 1usize..100, 1 => 250usize..300];
    let few = (shared, prop::collection::vec(length, 1..6));
    let lengths = prop::collection::vec(1usize..30, 2..=MOST_SEQUENCES);
    prop_oneof![3 => few, 1 => (0usize..34, lengths)]
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

/// On fresh pages, in the case's way.
fn run(case: &Case, tokens: &[Vec<u32>]) -> Vec<Vec<Vec<u32>>> {
    let mut rig = Rig::new(&case.shape, case.threads, case.sharing, case.seed ^ 1);
    let sequences = tokens.iter().map(|tokens| rig.start(tokens.clone()));
    let sequences = sequences.collect();
    run_to_end(case, &mut rig, sequences)
}

/// After hits: all sequences go on from those of the first one's tokens that they begin with, at most
/// `kept`; others have been written over what follows.
fn run_warm(case: &Case, tokens: &[Vec<u32>], kept: usize) -> Vec<Vec<Vec<u32>>> {
    let mut rig = Rig::new(&case.shape, case.threads, case.sharing, case.seed ^ 2);
    let mut first = rig.start(tokens[0].clone());
    rig.step(&mut [Work::new(&mut first, usize::MAX)]);
    rig.evict(&mut first, kept, case.seed);
    let go_on = |tokens: &Vec<u32>| rig.go_on(&first, tokens, kept);
    let sequences = tokens.iter().map(go_on).collect();
    run_to_end(case, &mut rig, sequences)
}

fn run_to_end(case: &Case, rig: &mut Rig, mut sequences: Vec<Sequence>) -> Vec<Vec<Vec<u32>>> {
    let mut rows = vec![Vec::new(); sequences.len()];
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
    // PROPTEST_CASES of each, or 256: `make test-exactness` asks for many more.
    #[test]
    fn logits_are_those_of_the_tokens_alone(case in cases()) {
        let tokens = rig::sequences(&case.lengths, case.shared, case.seed);
        prop_assert_eq!(run(&case, &tokens), reference(&case, &tokens));
    }

    #[test]
    fn sequences_go_on_from_pages_of_another(case in cases(), kept in 0usize..330) {
        let tokens = rig::sequences(&case.lengths, case.shared, case.seed);
        let warm = run_warm(&case, &tokens, kept);
        for (warm, cold) in warm.iter().zip(reference(&case, &tokens)) {
            prop_assert!(!warm.is_empty());
            prop_assert_eq!(warm, &cold[cold.len() - warm.len()..]);
        }
    }
}
