use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{AWAKE, Team};

fn team(count: usize) -> Team {
    Team::new(NonZeroUsize::new(count).expect("not 0")).expect("threads")
}

#[test]
fn every_thread_works_once_and_knows_its_share() {
    for count in [1, 2, 3, 7] {
        let mut team = team(count);
        let done: Vec<AtomicUsize> = (0..101).map(|_| AtomicUsize::new(0)).collect();
        for round in 1..=50 {
            team.run(|member| {
                for item in &done[member.share(done.len(), 4)] {
                    item.fetch_add(1, Ordering::Relaxed);
                }
            })
            .expect("nobody panics");
            assert!(
                done.iter()
                    .all(|item| item.load(Ordering::Relaxed) == round)
            );
        }
    }
}

#[test]
fn shares_begin_at_multiples_of_the_unit() {
    let mut team = team(3);
    let borders = std::sync::Mutex::new(Vec::new());
    team.run(|member| {
        borders
            .lock()
            .expect("unpoisoned")
            .push(member.share(10, 4))
    })
    .expect("nobody panics");
    let mut borders = borders.into_inner().expect("unpoisoned");
    borders.sort_by_key(|range| (range.start, range.end));
    assert_eq!(borders, [0..4, 4..8, 8..10]);
}

#[test]
fn waiting_shows_what_the_others_wrote() {
    let mut team = team(3);
    let count = AtomicUsize::new(0);
    team.run(|member| {
        for round in 1..=1000 {
            count.fetch_add(1, Ordering::Relaxed);
            member.wait();
            assert_eq!(count.load(Ordering::Relaxed), 3 * round);
            member.wait();
        }
    })
    .expect("every round counts three");
}

#[test]
fn a_panic_ends_the_work_of_all_and_the_team_goes_on() {
    for failing in 0..3 {
        let mut team = team(3);
        let error = team
            .run(|member| {
                assert!(member.index() != failing, "thread {failing} was told to");
                member.wait();
            })
            .expect_err("a thread panics");
        let text = error.to_string();
        assert!(
            text.contains(&format!("thread {failing} was told to")),
            "{text}"
        );
        team.run(|member| member.wait()).expect("nobody panics now");
    }
}

#[test]
fn sleeping_threads_wake_up() {
    let mut team = team(2);
    for pause in [Duration::ZERO, 2 * AWAKE, Duration::ZERO] {
        std::thread::sleep(pause); // the workers fall asleep: time is what is tested
        team.run(|member| member.wait()).expect("nobody panics");
    }
}
