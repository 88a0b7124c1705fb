//! What the shard tells before the first token: log probabilities of the prompt, and progress.

use text_generation_router::error::{ApiError, ShardErrorCode};
use text_generation_router::generation::{Event, Progress};
use text_generation_router::mock_shard::{Answer, MockShard};
use text_generation_router::pb;

use crate::rig::{Rig, collect, request, until, with_shard};

fn run(request_id: u64, start: u32, logprobs: &[f32]) -> pb::Step {
    let token = |&logprob: &f32| pb::TokenLogprob {
        logprob,
        top: vec![pb::TopToken {
            token_id: 7,
            logprob: -0.25,
        }],
    };
    pb::Step {
        prompt_logprobs: vec![pb::PromptLogprobs {
            request_id,
            start,
            tokens: logprobs.iter().map(token).collect(),
        }],
        ..pb::Step::default()
    }
}

fn report(request_id: u64, done_tokens: u32) -> pb::Step {
    pb::Step {
        progress: vec![pb::Progress {
            request_id,
            cached_tokens: 2,
            done_tokens,
            total_tokens: 9,
            eta_us: 1500,
        }],
        ..pb::Step::default()
    }
}

/// A server whose shard tells this before each answer of two tokens.
async fn telling(
    before: impl Fn(u64) -> Vec<pb::Step> + Send + Sync + 'static,
) -> (Rig, MockShard) {
    let script = move |request: &pb::Request| Answer {
        before: before(request.id),
        ..Answer::endless(98)
    };
    with_shard(|_| {}, script).await
}

async fn events(rig: &Rig, prompt_logprobs: bool) -> Vec<Event> {
    let mut request = request(4, 2);
    request.prompt_logprobs = prompt_logprobs;
    let model = rig.state.model().expect("a model");
    collect(model.submit(request).expect("taken")).await
}

#[tokio::test]
async fn the_prompt_comes_as_a_whole_before_the_first_token() {
    let (rig, shard) = telling(|id| vec![run(id, 1, &[-1.0, -2.0]), run(id, 3, &[-3.0])]).await;
    let events = events(&rig, true).await;
    let [
        Event::Prompt(prompt),
        Event::Token(_),
        Event::Token(_),
        Event::Finished(_),
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    let logprobs: Vec<f32> = prompt.iter().map(|token| token.logprob).collect();
    assert_eq!(logprobs, [-1.0, -2.0, -3.0]);
    assert_eq!(prompt[2].top, [(7, -0.25)]);
    assert!(shard.seen().requests[0].prompt_logprobs);
    rig.holds(0).await;
}

#[tokio::test]
async fn a_run_out_of_turn_or_unasked_ends_the_request_and_is_cancelled() {
    for (asked, starts) in [
        (true, [2, 3]),
        (true, [1, 1]),
        (true, [1, 3]),
        (false, [1, 2]),
    ] {
        let (rig, shard) = telling(move |id| starts.map(|at| run(id, at, &[-1.0])).into()).await;
        let events = events(&rig, asked).await;
        let [Event::Failed(ApiError::Shard(error))] = &events[..] else {
            panic!("{events:?}")
        };
        assert_eq!(error.code, ShardErrorCode::Protocol);
        until("the cancel", || shard.seen().cancels.len() == 1).await;
        rig.holds(0).await;
    }
}

#[tokio::test]
async fn reports_are_passed_on_and_dropped_when_nobody_reads() {
    let (rig, _shard) = telling(|id| (3..9).map(|done| report(id, done)).collect()).await;
    let model = rig.state.model().expect("a model");
    let generation = model.submit(request(4, 2)).expect("taken");
    // When a later one is complete, all reports of the first are here.
    events(&rig, false).await;
    let events = collect(generation).await;
    let told: Vec<Progress> = events
        .iter()
        .filter_map(|event| match event {
            Event::Progress(progress) => Some(*progress),
            _ => None,
        })
        .collect();
    let done: Vec<u32> = told.iter().map(|progress| progress.done).collect();
    assert_eq!(done, [3, 4], "the first two wait for their reader");
    assert_eq!((told[0].cached, told[0].total), (2, 9));
    assert_eq!(told[0].eta.as_micros(), 1500);
    assert_eq!(events.len(), 2 + 2 + 1, "no token gave way to a report");
}
