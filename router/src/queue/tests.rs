use std::time::Duration;

use tokio::sync::Semaphore;

use super::*;
use crate::request::Sampling;

struct Made {
    entry: Entry,
    events: mpsc::Receiver<Event>,
}

fn made(id: u64, submitted: Instant) -> Made {
    let permit = Arc::new(Semaphore::new(1))
        .try_acquire_owned()
        .expect("it is free");
    let (sender, events) = mpsc::channel(1);
    let sampling = Sampling {
        temperature: 0.0,
        ..Sampling::default()
    };
    let request = ValidRequest {
        tokens: vec![1],
        max_new_tokens: 1,
        sampling,
        stop_token_ids: vec![],
        top_n_tokens: 0,
        logit_bias: vec![],
        grammar: None,
        prompt_logprobs: false,
        progress: false,
    };
    let waiting = Arc::<TokenCount>::default()
        .add(1, 1)
        .expect("nothing waits");
    let ticket = Arc::new(permit);
    let entry = Entry {
        id,
        request,
        x_request_id: String::new(),
        events: sender,
        submitted,
        ticket,
        _waiting: waiting,
    };
    Made { entry, events }
}

#[test]
fn entries_leave_in_order_and_those_without_a_client_are_forgotten() {
    let now = Instant::now();
    let mut queue = Queue::default();
    let mut listeners = vec![];
    for id in 0..4 {
        let made = made(id, now);
        queue.push(made.entry);
        listeners.push(made.events);
    }
    listeners.remove(1);
    listeners.remove(0);
    assert_eq!(queue.pop().map(|entry| entry.id), Some(2));
    assert_eq!(queue.remove(3).map(|entry| entry.id), Some(3));
    assert!(queue.pop().is_none() && queue.is_empty());
}

#[test]
fn only_entries_that_waited_too_long_expire() {
    let start = Instant::now();
    let mut queue = Queue::default();
    let second = Duration::from_secs(1);
    let first = made(0, start);
    let later = made(1, start + second);
    queue.push(first.entry);
    queue.push(later.entry);
    assert_eq!(queue.oldest(), Some(start));
    assert_eq!(queue.pop_submitted_by(start).map(|entry| entry.id), Some(0));
    assert!(queue.pop_submitted_by(start).is_none());
    assert_eq!(queue.len(), 1);
}

#[test]
fn tokens_count_up_to_the_bound_and_a_lone_request_always_fits() {
    let count = Arc::<TokenCount>::default();
    let large = count.add(500, 100).expect("nothing waits");
    assert!(count.add(1, 100).is_none());
    drop(large);
    assert_eq!(count.get(), 0);
    let _small = count.add(60, 100).expect("it fits");
    assert!(count.add(41, 100).is_none());
    let _rest = count.add(40, 100).expect("it fits exactly");
    assert_eq!(count.get(), 100);
}
