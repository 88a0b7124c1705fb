//! Times of the operations that a request waits for, on a prompt of 200,000 tokens in a tree of many
//! conversations.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use prefix_tree::{NodeId, PrefixTree, Segment};

const PROMPT: usize = 200_000;
/// Tokens between two ends of turns.
const TURN: usize = 500;
const CONVERSATIONS: u32 = 2_000;

fn public(tokens: &[u32]) -> [Segment<'_>; 1] {
    [Segment { domain: 0, tokens }]
}

/// Conversations that share a system prompt and then go apart, and the long one, a node a turn.
fn tree() -> (PrefixTree<()>, Vec<u32>, NodeId) {
    let mut tree = PrefixTree::new(());
    let prompt: Vec<u32> = (0..PROMPT as u32)
        .map(|i| i.wrapping_mul(2_654_435_761) % 49_152)
        .collect();
    let mut end = tree.root();
    for turn in prompt.chunks(TURN) {
        end = tree.insert(end, public(turn)[0], ());
        if end
            == tree
                .child(tree.root(), 0, prompt[0])
                .expect("the first turn")
        {
            for first in 0..CONVERSATIONS {
                let tokens: Vec<u32> = (0..TURN as u32).map(|i| 50_000 + first + i).collect();
                tree.insert(end, public(&tokens)[0], ());
            }
        }
    }
    (tree, prompt, end)
}

fn bench_match(criterion: &mut Criterion) {
    let (tree, prompt, _) = tree();
    assert_eq!(tree.longest_prefix(&public(&prompt), PROMPT).length, PROMPT);
    criterion.bench_function("match 200,000 tokens in 400 nodes", |b| {
        b.iter(|| tree.longest_prefix(black_box(&public(&prompt)), PROMPT));
    });
    let mut one = PrefixTree::new(());
    one.insert(one.root(), public(&prompt)[0], ());
    criterion.bench_function("match 200,000 tokens in one node", |b| {
        b.iter(|| one.longest_prefix(black_box(&public(&prompt)), PROMPT));
    });
}

fn bench_change(criterion: &mut Criterion) {
    let (mut tree, prompt, end) = tree();
    criterion.bench_function("insert and remove a turn", |b| {
        b.iter(|| {
            let node = tree.insert(end, public(&prompt[..TURN])[0], ());
            tree.remove(black_box(node))
        });
    });
    let leaf = tree.insert(end, public(&[1])[0], ());
    criterion.bench_function("extend by a token", |b| {
        b.iter(|| tree.extend(leaf, black_box(&[7])))
    });
    criterion.bench_function("split 200,000 tokens in the middle", |b| {
        let whole = || {
            let mut tree = PrefixTree::new(());
            let node = tree.insert(tree.root(), public(&prompt)[0], ());
            (tree, node)
        };
        b.iter_batched(
            whole,
            |(mut tree, node)| {
                tree.split(node, PROMPT / 2, |()| ());
                tree
            },
            BatchSize::LargeInput,
        );
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = bench_match, bench_change
}
criterion_main!(benches);
