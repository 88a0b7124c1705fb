use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

type Token = (u64, u32);
type Tree = PrefixTree<()>;

fn path_of(tokens: &[Token]) -> Vec<(u64, Vec<u32>)> {
    tokens
        .chunk_by(|a, b| a.0 == b.0)
        .map(|run| (run[0].0, run.iter().map(|&(_, token)| token).collect()))
        .collect()
}

fn segments(path: &[(u64, Vec<u32>)]) -> Vec<Segment<'_>> {
    path.iter()
        .map(|(domain, tokens)| Segment {
            domain: *domain,
            tokens,
        })
        .collect()
}

fn longest(tree: &Tree, tokens: &[Token], limit: usize) -> Match {
    let found = tree.longest_prefix(&segments(&path_of(tokens)), limit);
    // Where segments are cut makes no difference.
    let (left, right) = tokens.split_at(tokens.len() / 2);
    let cut = [path_of(left), path_of(right)].concat();
    assert_eq!(tree.longest_prefix(&segments(&cut), limit), found);
    found
}

/// Stores a path: splits at the end of the match, adds the rest.
fn store(tree: &mut Tree, tokens: &[Token]) -> NodeId {
    let found = longest(tree, tokens, tokens.len());
    let mut node = found.node;
    if found.length < tree.end(node) {
        node = tree.split(node, found.length, |()| ());
    }
    for (domain, rest) in path_of(&tokens[found.length..]) {
        node = tree.insert(
            node,
            Segment {
                domain,
                tokens: &rest,
            },
            (),
        );
    }
    tree.touch(node);
    node
}

fn stored(tree: &Tree, node: NodeId) -> Vec<Token> {
    let mut nodes: Vec<_> = tree.ancestors(node).collect();
    nodes.reverse();
    let of = |n: &NodeId| {
        tree.tokens(*n)
            .iter()
            .map(|&t| (tree.domain(*n), t))
            .collect::<Vec<_>>()
    };
    nodes.iter().flat_map(of).collect()
}

/// All non-empty prefixes of all stored paths, one token at a time.
#[derive(Default)]
struct Naive(HashSet<Vec<Token>>);

impl Naive {
    fn store(&mut self, tokens: &[Token]) {
        self.0
            .extend((1..=tokens.len()).map(|end| tokens[..end].to_vec()));
    }

    fn longest(&self, tokens: &[Token], limit: usize) -> usize {
        (0..=tokens.len().min(limit))
            .rev()
            .find(|&n| n == 0 || self.0.contains(&tokens[..n]))
            .unwrap_or(0)
    }
}

#[derive(Debug, Clone)]
enum Operation {
    Store(Vec<Token>),
    Match(Vec<Token>, usize),
    Lock(Vec<Token>),
    Unlock(usize),
    Extend(usize, Vec<u32>),
    Remove(usize),
    Truncate(usize, usize),
}

fn tokens() -> impl Strategy<Value = Vec<Token>> {
    prop::collection::vec((0..2u64, 0..3u32), 1..12)
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => tokens().prop_map(Operation::Store),
        3 => (tokens(), 0..14usize).prop_map(|(t, limit)| Operation::Match(t, limit)),
        2 => tokens().prop_map(Operation::Lock),
        2 => any::<usize>().prop_map(Operation::Unlock),
        2 => (any::<usize>(), prop::collection::vec(0..3u32, 1..4)).prop_map(|(i, t)| Operation::Extend(i, t)),
        2 => any::<usize>().prop_map(Operation::Remove),
        1 => (any::<usize>(), any::<usize>()).prop_map(|(i, n)| Operation::Truncate(i, n)),
    ]
}

#[derive(Default)]
struct Model {
    naive: Naive,
    locked: Vec<NodeId>,
}

impl Model {
    fn apply(&mut self, tree: &mut Tree, operation: Operation) {
        match operation {
            Operation::Store(tokens) => {
                let node = store(tree, &tokens);
                self.naive.store(&tokens);
                assert_eq!(stored(tree, node), tokens);
            }
            Operation::Match(tokens, limit) => {
                let found = longest(tree, &tokens, limit);
                assert_eq!(found.length, self.naive.longest(&tokens, limit));
                assert_eq!(
                    stored(tree, found.node)[..found.length],
                    tokens[..found.length]
                );
                let (start, end) = (tree.start(found.node), tree.end(found.node));
                assert!(found.length == 0 || (start < found.length && found.length <= end));
            }
            Operation::Lock(tokens) => {
                let node = store(tree, &tokens);
                self.naive.store(&tokens);
                tree.lock(node);
                self.locked.push(node);
            }
            Operation::Unlock(i) => {
                if !self.locked.is_empty() {
                    tree.unlock(self.locked.swap_remove(i % self.locked.len()));
                }
            }
            Operation::Extend(i, tokens) => {
                if let Some(leaf) = pick(tree, i) {
                    tree.extend(leaf, &tokens);
                    self.naive.store(&stored(tree, leaf));
                }
            }
            Operation::Remove(i) => {
                if let Some(leaf) = pick(tree, i) {
                    self.forget(&stored(tree, leaf), tree.start(leaf));
                    tree.remove(leaf);
                }
            }
            Operation::Truncate(i, n) => {
                if let Some(leaf) = pick(tree, i) {
                    let keep = 1 + n % tree.tokens(leaf).len();
                    let depth = tree.start(leaf) + keep;
                    self.forget(&stored(tree, leaf), depth);
                    tree.truncate(leaf, depth);
                }
            }
        }
    }

    fn forget(&mut self, path: &[Token], keep: usize) {
        (keep + 1..=path.len()).for_each(|end| assert!(self.naive.0.remove(&path[..end])));
    }
}

fn pick(tree: &Tree, i: usize) -> Option<NodeId> {
    let mut leaves: Vec<_> = tree.free_leaves().collect();
    leaves.sort();
    (!leaves.is_empty()).then(|| leaves[i % leaves.len()])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn agrees_with_the_naive_set_of_prefixes(operations in prop::collection::vec(operation(), 1..60)) {
        let (mut tree, mut model) = (Tree::new(()), Model::default());
        for operation in operations {
            model.apply(&mut tree, operation);
            tree.check().map_err(TestCaseError::fail)?;
        }
        let tokens: usize = tree.iter().map(|node| tree.tokens(node).len()).sum();
        prop_assert_eq!(tokens, model.naive.0.len());
    }
}

fn public(tokens: &[u32]) -> [Segment<'_>; 1] {
    [Segment { domain: 0, tokens }]
}

#[test]
fn finds_nothing_in_an_empty_tree() {
    let tree = Tree::new(());
    assert_eq!(
        tree.longest_prefix(&public(&[1, 2]), 9),
        Match {
            node: tree.root(),
            length: 0
        }
    );
}

#[test]
fn a_match_may_end_inside_a_node() {
    let mut tree = Tree::new(());
    let node = tree.insert(tree.root(), public(&[1, 2, 3, 4])[0], ());
    assert_eq!(
        tree.longest_prefix(&public(&[1, 2, 9]), 9),
        Match { node, length: 2 }
    );
}

#[test]
fn equal_tokens_of_another_domain_do_not_match() {
    let mut tree = Tree::new(());
    tree.insert(
        tree.root(),
        Segment {
            domain: 1,
            tokens: &[1, 2, 3],
        },
        (),
    );
    assert_eq!(tree.longest_prefix(&public(&[1, 2, 3]), 9).length, 0);
    let mixed = [
        Segment {
            domain: 1,
            tokens: &[1, 2],
        },
        Segment {
            domain: 2,
            tokens: &[3],
        },
    ];
    assert_eq!(tree.longest_prefix(&mixed, 9).length, 2);
}

#[test]
fn common_prefixes_are_found_around_block_borders() {
    let a: Vec<u32> = (0..5000).collect();
    for at in [0, 1, 1023, 1024, 1025, 2048, 4999] {
        let mut b = a.clone();
        b[at] = u32::MAX;
        assert_eq!(common_prefix(&a, &b), at);
    }
    assert_eq!(common_prefix(&a, &a[..1500]), 1500);
    assert_eq!(common_prefix(&a[..1500], &a), 1500);
    assert_eq!(common_prefix(&a, &[]), 0);
}

#[test]
fn split_keeps_locks_below() {
    let mut tree = Tree::new(());
    let node = tree.insert(tree.root(), public(&[1, 2, 3, 4])[0], ());
    tree.lock(node);
    let upper = tree.split(node, 1, |()| ());
    assert_eq!((tree.locks(upper), tree.locks(node)), (0, 1));
    assert_eq!(
        (tree.tokens(upper), tree.tokens(node)),
        (&[1][..], &[2, 3, 4][..])
    );
    assert_eq!(tree.free_leaves().count(), 0);
    tree.unlock(node);
    assert_eq!(tree.free_leaves().collect::<Vec<_>>(), [node]);
}

#[test]
fn a_parent_is_as_recent_as_the_child_that_was_removed() {
    let mut tree = Tree::new(());
    let parent = tree.insert(tree.root(), public(&[1])[0], ());
    let child = tree.insert(parent, public(&[2])[0], ());
    let used = tree.last_used(child);
    tree.remove(child);
    assert_eq!(tree.last_used(parent), used);
}

#[test]
fn a_deep_tree_is_dropped_without_recursion() {
    let mut tree = Tree::new(());
    let mut node = tree.root();
    for token in 0..200_000 {
        node = tree.insert(node, public(&[token])[0], ());
    }
    assert_eq!(tree.end(node), 200_000);
}
