//! A small machine with real cells: what the tree shows must be what was written.

use proptest::prelude::*;

use super::*;
use machine::{Machine, Token};

mod machine;

#[derive(Debug, Clone)]
enum Operation {
    Open(Vec<Token>, usize),
    OpenLonger(usize, Vec<Token>),
    Step(Vec<(usize, usize)>, bool),
    Abandon(Vec<(usize, usize)>),
    Close(usize),
    Rematch(usize),
    Clear,
}

fn text() -> impl Strategy<Value = Vec<Token>> {
    (prop::collection::vec(0..2u32, 1..24), 0..24usize, 0..3u64).prop_map(
        |(tokens, cut, domain)| {
            tokens
                .iter()
                .enumerate()
                .map(|(i, &t)| (if i < cut { 0 } else { domain }, t))
                .collect()
        },
    )
}

fn operation() -> impl Strategy<Value = Operation> {
    let chunks = prop::collection::vec((any::<usize>(), 1..10usize), 1..5);
    prop_oneof![
        4 => (text(), 0..26usize).prop_map(|(text, limit)| Operation::Open(text, limit)),
        2 => (any::<usize>(), text()).prop_map(|(i, text)| Operation::OpenLonger(i, text)),
        8 => (chunks.clone(), prop::bool::weighted(0.1)).prop_map(|(c, fails)| Operation::Step(c, fails)),
        1 => chunks.prop_map(Operation::Abandon),
        3 => any::<usize>().prop_map(Operation::Close),
        2 => any::<usize>().prop_map(Operation::Rematch),
        1 => Just(Operation::Clear),
    ]
}

fn apply(machine: &mut Machine, operation: Operation) {
    let count = machine.running.len();
    match operation {
        Operation::Open(text, limit) => drop(machine.open(text, limit)),
        Operation::OpenLonger(i, more) if count > 0 => {
            let mut text = machine.running[i % count].text.clone();
            text.extend(more);
            machine.open(text, usize::MAX);
        }
        Operation::Step(chunks, fails) if count > 0 => machine.step(&chunks, fails),
        Operation::Abandon(chunks) if count > 0 => machine.abandon(&chunks),
        Operation::Close(i) if count > 0 => machine.close(i),
        Operation::Rematch(i) if count > 0 => {
            let id = machine.running[i % count].id;
            let before = machine.cache.cached_tokens(id).expect("open");
            match machine.cache.rematch(id) {
                Ok(cached) if machine.cache.enabled => assert!(cached >= before),
                Ok(cached) => assert_eq!(cached, 0),
                Err(error) => assert_eq!(error, CacheError::AlreadyReserved(id)),
            }
        }
        Operation::Clear => {
            machine.cache.clear();
            assert!(count > 0 || machine.cache.counts().free == machine.cache.counts().total);
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn what_is_matched_is_what_was_computed(
        operations in prop::collection::vec(operation(), 1..80),
        page_tokens in prop::sample::select(vec![1usize, 2, 4, 16]),
        num_pages in prop::sample::select(vec![6u32, 20, 200]),
        enabled in prop::bool::weighted(0.9),
    ) {
        let mut machine = Machine::new(num_pages, page_tokens, enabled);
        for operation in operations {
            apply(&mut machine, operation);
            machine.verify().map_err(TestCaseError::fail)?;
        }
        while !machine.running.is_empty() {
            machine.close(0);
        }
        machine.verify().map_err(TestCaseError::fail)?;
        let counts = machine.cache.counts();
        prop_assert_eq!(counts.referenced, 0);
        prop_assert!(enabled || counts.cached == 0);
    }
}

fn public(tokens: impl IntoIterator<Item = u32>) -> Vec<Token> {
    tokens.into_iter().map(|token| (0, token)).collect()
}

#[test]
fn a_follow_up_matches_all_but_the_last_token() {
    let mut machine = Machine::new(20, 4, true);
    machine.compute(&public(0..10));
    assert_eq!(machine.compute(&public(0..10)), 9);
    assert_eq!(machine.compute(&public(0..15)), 10);
}

#[test]
fn turns_of_a_conversation_leave_no_page_behind() {
    let mut machine = Machine::new(100, 16, true);
    for turn in 1..=60 {
        machine.compute(&public(0..turn * 5));
    }
    assert_eq!(machine.cache.counts().cached, (60 * 5_usize).div_ceil(16));
    machine.verify().expect("sound");
}

#[test]
fn divergence_costs_no_token() {
    let mut machine = Machine::new(20, 16, true);
    machine.compute(&public(0..20));
    let other = public((0..7).chain(50..60));
    assert_eq!(machine.compute(&other), 7);
    assert_eq!(machine.compute(&public(0..20)), 19);
}

#[test]
fn an_equal_commit_takes_over_the_pages_of_the_tree() {
    let mut machine = Machine::new(20, 4, true);
    for _ in 0..2 {
        machine.open(public(0..12), 11);
    }
    machine.step(&[(0, 12), (1, 12)], false);
    machine.verify().expect("sound");
    let counts = machine.cache.counts();
    assert_eq!((counts.referenced, counts.cached), (3, 0));
}

#[test]
fn the_least_recently_used_leaf_gives_up_its_tail_first() {
    let mut machine = Machine::new(8, 4, true);
    machine.compute(&public(0..12));
    machine.compute(&public(100..112));
    machine.compute(&public(0..12)); // the first is the recent one now
    machine.compute(&public(200..212));
    assert_eq!(machine.compute(&public(0..13)), 12);
    assert!(machine.cache.evictions() > 0);
}

#[test]
fn reserve_that_cannot_succeed_evicts_nothing() {
    let mut machine = Machine::new(6, 4, true);
    machine.compute(&public(0..12));
    machine.open(public(100..140), 0);
    let id = machine.running[0].id;
    assert_eq!(machine.cache.reserve(id, 28), Ok(None));
    assert_eq!(machine.cache.evictions(), 0);
    assert_eq!(
        machine.cache.reserve(id, 24).map(|copies| copies.is_some()),
        Ok(true)
    );
}

/// The node of `public(0..6)` holds the page of a branch that ended, while a sequence that stays there
/// has the older one, of which it has planned a copy. All pages but one are in use.
fn a_branch_ended_above_a_planned_copy() -> Machine {
    let mut machine = Machine::new(5, 4, true);
    machine.compute(&public(0..6));
    machine.open(public(0..8), 6);
    let branch = public((0..6).chain(50..52));
    machine.open(branch, 6);
    machine.step(&[(1, 2)], false);
    machine.close(1);
    assert!(machine.reserve(machine.running[0].id, 7).is_some());
    machine
}

#[test]
fn every_cached_page_can_be_had() {
    let mut machine = a_branch_ended_above_a_planned_copy();
    let counts = machine.cache.counts();
    assert_eq!((counts.free, counts.cached), (1, 1));
    machine.open(public(100..108), 0);
    assert!(machine.reserve(machine.running[1].id, 8).is_some());
    machine.cache.check().expect("sound");
}

#[test]
fn the_tree_never_shows_a_copy_that_was_not_made() {
    let mut machine = a_branch_ended_above_a_planned_copy();
    machine.open(public(100..108), 0);
    machine.abandon(&[(0, 1), (1, 8)]);
    assert_eq!(machine.open(public(0..8), 8), 6);
    machine.verify().expect("sound");
}

#[test]
fn a_cache_that_is_off_says_of_no_two_paths_that_they_are_equal() {
    let mut cache = PageCache::new(4, 4, false);
    let ids = [cache.open(&[], 0), cache.open(&[], 0)];
    assert_ne!(cache.node(ids[0]), cache.node(ids[1]));
}

#[test]
fn refuses_what_breaks_the_rules() {
    let mut cache = PageCache::new(4, 4, true);
    let tokens = [1, 2, 3];
    let segment = [Segment {
        domain: 0,
        tokens: &tokens,
    }];
    let id = cache.open(&segment, 2);
    assert_eq!(
        cache.commit(id, &segment),
        Err(CacheError::NotReserved {
            end: 3,
            reserved: 0
        })
    );
    cache.reserve(id, 3).expect("open");
    assert_eq!(cache.rematch(id), Err(CacheError::AlreadyReserved(id)));
    cache.commit(id, &segment).expect("reserved");
    cache.close(id).expect("open");
    assert_eq!(cache.close(id), Err(CacheError::UnknownSequence(id)));
    assert_eq!(cache.reserve(id, 1), Err(CacheError::UnknownSequence(id)));
}

#[test]
fn a_sequence_that_decodes_makes_no_new_nodes() {
    let mut machine = Machine::new(100, 16, true);
    machine.open(public(0..500), 0);
    for _ in 0..500 {
        machine.step(&[(0, 1)], false);
    }
    assert_eq!(machine.cache.tree.num_nodes(), 2);
}
