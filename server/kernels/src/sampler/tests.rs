use proptest::prelude::*;

use super::*;

mod edits;
mod filters;
mod scores;
mod watermarks;

const VOCAB: usize = 40;

fn sampler(params: SamplingParams) -> Sampler {
    let mut sampler = Sampler::new(VOCAB, 4);
    sampler.open(0, params, &[], &[]).expect("valid");
    sampler
}

fn row(slot: usize, position: u32) -> Row<'static> {
    Row {
        slot,
        position,
        mask: None,
    }
}

fn one(params: SamplingParams, logits: &[f32], position: u32) -> Sample {
    let samples = sampler(params)
        .sample(logits, &[row(0, position)])
        .expect("valid");
    samples.into_iter().next().expect("one row")
}

fn softmax(logits: &[f32]) -> Vec<f64> {
    let best = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = logits.iter().map(|&l| f64::from(l - best).exp()).collect();
    let total: f64 = powers.iter().sum();
    powers.iter().map(|power| power / total).collect()
}

/// Ids that may be drawn, by the definitions, with the slack of rounding left to the caller.
fn allowed(params: &SamplingParams, logits: &[f32]) -> Vec<u32> {
    let scaled: Vec<f32> = logits.iter().map(|l| l / params.temperature).collect();
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    ids.sort_by(|&a, &b| {
        logits[b as usize]
            .total_cmp(&logits[a as usize])
            .then(a.cmp(&b))
    });
    if params.top_k > 0 {
        ids.truncate(params.top_k as usize);
    }
    let kept: Vec<f32> = ids.iter().map(|&id| scaled[id as usize]).collect();
    let probabilities = softmax(&kept);
    let mut sum = 0.0;
    let count = probabilities.iter().take_while(|&&p| {
        let before = sum;
        sum += p;
        before < f64::from(params.top_p) + 1e-6
    });
    let count = count.count();
    ids.truncate(count);
    ids
}

fn logits() -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec(
        prop_oneof![9 => -8.0f32..8.0, 1 => Just(f32::NEG_INFINITY)],
        VOCAB,
    )
    .prop_filter("one is finite", |row| {
        row.iter().any(|logit| logit.is_finite())
    })
}

fn params() -> impl Strategy<Value = SamplingParams> {
    (0.1f32..2.0, 0..12u32, 0.05f32..=1.0, any::<u64>()).prop_map(
        |(temperature, top_k, top_p, seed)| SamplingParams {
            temperature,
            top_k,
            top_p,
            seed,
            top_n: 5,
            ..SamplingParams::default()
        },
    )
}

proptest! {
    #[test]
    fn draws_what_the_definitions_allow(params in params(), logits in logits(), position in 0..1000u32) {
        let sample = one(params, &logits, position);
        prop_assert!(allowed(&params, &logits).contains(&sample.token));
        prop_assert!(logits[sample.token as usize].is_finite());
    }

    #[test]
    fn reports_the_log_softmax_of_the_unmodified_row(params in params(), logits in logits()) {
        let sample = one(params, &logits, 3);
        let expected = softmax(&logits);
        prop_assert!((f64::from(sample.logprob) - expected[sample.token as usize].ln()).abs() < 1e-4);
        prop_assert_eq!(sample.top.len(), 5);
        for pair in sample.top.windows(2) {
            prop_assert!(pair[0].1 > pair[1].1 || (pair[0].1 == pair[1].1 && pair[0].0 < pair[1].0));
        }
    }

    #[test]
    fn a_row_does_not_see_its_neighbours(
        params in prop::collection::vec(params(), 4),
        rows in prop::collection::vec(logits(), 4),
        order in Just([0usize, 1, 2, 3]).prop_shuffle(),
    ) {
        let open = |sampler: &mut Sampler| {
            for (slot, params) in params.iter().enumerate() {
                sampler.open(slot, *params, &[1, 2], &[3]).expect("valid");
            }
        };
        let mut alone = Sampler::new(VOCAB, 4);
        open(&mut alone);
        let expected: Vec<Sample> = (0..4)
            .map(|slot| alone.sample(&rows[slot], &[row(slot, 7)]).expect("valid").remove(0))
            .collect();
        let mut together = Sampler::new(VOCAB, 4);
        open(&mut together);
        let logits: Vec<f32> = order.iter().flat_map(|&slot| rows[slot].clone()).collect();
        let batch: Vec<Row> = order.iter().map(|&slot| row(slot, 7)).collect();
        let samples = together.sample(&logits, &batch).expect("valid");
        for (&slot, sample) in order.iter().zip(&samples) {
            prop_assert_eq!(sample, &expected[slot]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn all_processors_draw_the_same(
        params in params(),
        typical_p in 0.3f32..1.3,
        logits in prop::collection::vec(-12.0f32..12.0, 700),
    ) {
        let filters = [(params.top_k, params.top_p), (0, params.top_p), (0, 1.0)];
        for (top_k, top_p) in filters {
            let typical_p = typical_p.min(1.0);
            let params = SamplingParams { top_k, top_p, typical_p, ..params };
            let mut samples = Isa::supported().map(|isa| {
                let mut sampler = Sampler::with_isa(700, 1, isa);
                sampler.open(0, params, &[], &[]).expect("valid");
                sampler.draw(row(0, 7), &mut logits.clone()).expect("valid")
            });
            let first = samples.next().expect("any processor has one");
            prop_assert!(samples.all(|sample| sample == first));
        }
    }
}

#[test]
fn threads_that_share_the_rows_draw_what_one_thread_draws() {
    const ROWS: usize = 16;
    let logits: Vec<f32> = (0..ROWS * VOCAB)
        .map(|i| (uniform(1, i as u32) * 6.0) as f32)
        .collect();
    let mut sampler = Sampler::new(VOCAB, ROWS);
    for slot in 0..ROWS {
        let params = SamplingParams {
            temperature: slot as f32 / 8.0,
            seed: slot as u64,
            ..SamplingParams::default()
        };
        sampler.open(slot, params, &[], &[]).expect("valid");
    }
    let rows: Vec<Row> = (0..ROWS).map(|slot| row(slot, 5)).collect();
    let shared = &sampler;
    let drawn: Vec<Sample> = std::thread::scope(|scope| {
        let draw = |(row, logits): (&Row<'static>, &[f32])| {
            let (row, mut logits) = (*row, logits.to_vec());
            scope.spawn(move || shared.draw(row, &mut logits).expect("valid"))
        };
        let threads: Vec<_> = rows.iter().zip(logits.chunks(VOCAB)).map(draw).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Sample>| thread.join();
        threads
            .into_iter()
            .map(|t| join(t).expect("no panic"))
            .collect()
    });
    assert_eq!(sampler.sample(&logits, &rows).expect("valid"), drawn);
}

#[test]
fn greedy_takes_the_lowest_id_among_equals() {
    let mut logits = vec![0.0; VOCAB];
    logits[7] = 3.0;
    logits[30] = 3.0;
    assert_eq!(one(SamplingParams::default(), &logits, 0).token, 7);
}

#[test]
fn nan_is_never_drawn_and_infinity_always() {
    let mut logits = vec![f32::NAN; VOCAB];
    logits[5] = -3.0;
    let warm = SamplingParams {
        temperature: 1.0,
        ..SamplingParams::default()
    };
    assert_eq!(one(SamplingParams::default(), &logits, 0).token, 5);
    assert_eq!(one(warm, &logits, 0).token, 5);
    logits[6] = f32::INFINITY;
    let sample = one(warm, &logits, 0);
    assert_eq!((sample.token, sample.logprob), (6, 0.0));
}

#[test]
fn draws_follow_the_distribution() {
    let logits: Vec<f32> = [0.5f32, 0.3, 0.2].iter().map(|p| p.ln()).collect();
    let mut counts = [0u32; 3];
    let mut sampler = Sampler::new(3, 1);
    let params = SamplingParams {
        temperature: 1.0,
        seed: 11,
        ..SamplingParams::default()
    };
    sampler.open(0, params, &[], &[]).expect("valid");
    for position in 0..20_000 {
        let sample = sampler
            .sample(&logits, &[row(0, position)])
            .expect("valid")
            .remove(0);
        counts[sample.token as usize] += 1;
    }
    // Four standard deviations of a binomial with 20,000 draws are below 300.
    for (count, expected) in counts.into_iter().zip([10_000u32, 6_000, 4_000]) {
        assert!(count.abs_diff(expected) < 300, "{counts:?}");
    }
}

#[test]
fn top_tokens_leave_out_impossible_ones() {
    let logits = [f32::NAN, 1.0, f32::NEG_INFINITY, 2.0];
    let mut sampler = Sampler::new(4, 1);
    let params = SamplingParams {
        top_n: 4,
        ..SamplingParams::default()
    };
    sampler.open(0, params, &[], &[]).expect("valid");
    let sample = sampler
        .sample(&logits, &[row(0, 0)])
        .expect("valid")
        .remove(0);
    assert_eq!(
        sample.top.iter().map(|&(id, _)| id).collect::<Vec<_>>(),
        [3, 1]
    );
}

#[test]
fn refuses_bad_calls_before_anything_changes() {
    let mut sampler = sampler(SamplingParams::default());
    let logits = vec![0.0; VOCAB];
    let two: Vec<f32> = logits
        .iter()
        .chain(&vec![f32::NAN; VOCAB])
        .copied()
        .collect();
    sampler
        .open(1, SamplingParams::default(), &[], &[])
        .expect("valid");
    let cases = [
        (
            sampler.sample(&logits[1..], &[row(0, 0)]),
            "39 logits for 1 rows of 40",
        ),
        (
            sampler.sample(&logits, &[row(4, 0)]),
            "slot 4 is not below 4",
        ),
        (sampler.sample(&logits, &[row(2, 0)]), "slot 2 is not open"),
        (
            sampler.sample(&two, &[row(0, 0), row(0, 0)]),
            "slot 0 is in two rows of one call",
        ),
        (
            sampler.sample(&two, &[row(0, 0), row(1, 0)]),
            "the row of slot 1 has no finite logit of an allowed token",
        ),
    ];
    for (result, message) in cases {
        assert_eq!(result.expect_err("refused").to_string(), message);
    }
    let token = sampler
        .open(0, SamplingParams::default(), &[40], &[])
        .expect_err("refused");
    assert_eq!(
        token.to_string(),
        "token id 40 is not below the vocabulary of 40"
    );
}

#[test]
fn refuses_parameters_out_of_range() {
    let good = SamplingParams::default();
    let cases = [
        (
            SamplingParams {
                temperature: -0.1,
                ..good
            },
            "temperature",
        ),
        (
            SamplingParams {
                temperature: f32::NAN,
                ..good
            },
            "temperature",
        ),
        (SamplingParams { top_p: 0.0, ..good }, "top_p"),
        (SamplingParams { top_p: 1.1, ..good }, "top_p"),
        (
            SamplingParams {
                typical_p: 0.0,
                ..good
            },
            "typical_p",
        ),
        (
            SamplingParams {
                repetition_penalty: 0.0,
                ..good
            },
            "repetition_penalty",
        ),
        (
            SamplingParams {
                frequency_penalty: 2.5,
                ..good
            },
            "frequency_penalty",
        ),
        (
            SamplingParams {
                presence_penalty: -2.5,
                ..good
            },
            "presence_penalty",
        ),
    ];
    for (params, name) in cases {
        let message = params.validate().expect_err("out of range").to_string();
        assert!(message.starts_with(name), "{message}");
    }
    good.validate().expect("the default is valid");
}
