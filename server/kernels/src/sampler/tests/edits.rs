//! Masks, biases and penalties.

use super::*;

/// A mask that allows these tokens alone.
fn mask(allowed: &[u32]) -> Vec<u32> {
    let mut words = vec![0u32; VOCAB.div_ceil(32)];
    for id in allowed {
        words[*id as usize / 32] |= 1 << (id % 32);
    }
    words
}

fn masked(mask: &[u32], position: u32) -> Row<'_> {
    Row {
        mask: Some(mask),
        ..row(0, position)
    }
}

fn biased(params: SamplingParams, biases: &[(u32, f32)]) -> Sampler {
    let mut sampler = sampler(params);
    sampler.bias(0, biases).expect("valid");
    sampler
}

proptest! {
    #[test]
    fn only_allowed_tokens_are_drawn_and_a_full_mask_changes_nothing(
        params in params(),
        logits in logits(),
        allowed in prop::collection::btree_set(0..VOCAB as u32, 1..VOCAB),
    ) {
        let allowed: Vec<u32> = allowed.into_iter().collect();
        let words = mask(&allowed);
        let possible = allowed.iter().any(|&id| logits[id as usize].is_finite());
        match sampler(params).draw(masked(&words, 7), &mut logits.clone()) {
            Ok(sample) => {
                prop_assert!(allowed.contains(&sample.token));
                prop_assert_eq!(sample.top, one(params, &logits, 7).top);
            }
            Err(error) => {
                prop_assert!(!possible);
                prop_assert_eq!(error, SamplerError::NoFiniteLogit(0));
            }
        }
        let full = vec![u32::MAX; VOCAB.div_ceil(32)];
        let sample = sampler(params).draw(masked(&full, 7), &mut logits.clone()).expect("valid");
        prop_assert_eq!(sample, one(params, &logits, 7));
    }

    #[test]
    fn a_bias_draws_as_if_the_logits_were_so_and_reports_what_they_are(
        params in params(),
        logits in logits(),
        biases in prop::collection::btree_map(0..VOCAB as u32, -20.0f32..20.0, 0..9),
    ) {
        let biases: Vec<(u32, f32)> = biases.into_iter().collect();
        let mut moved = logits.clone();
        for &(id, bias) in &biases {
            moved[id as usize] += bias;
        }
        let sample = biased(params, &biases).draw(row(0, 7), &mut logits.clone()).expect("valid");
        prop_assert_eq!(sample.token, one(params, &moved, 7).token);
        let expected = softmax(&logits)[sample.token as usize].ln();
        prop_assert!((f64::from(sample.logprob) - expected).abs() < 1e-4);
        prop_assert_eq!(sample.top, one(params, &logits, 7).top);
    }
}

#[test]
fn a_mask_bounds_the_greedy_choice() {
    let logits: Vec<f32> = (0..VOCAB).map(|id| id as f32).collect();
    for allowed in [0, 31, 32, 39] {
        let words = mask(&[allowed]);
        let sample = sampler(SamplingParams::default())
            .draw(masked(&words, 0), &mut logits.clone())
            .expect("valid");
        assert_eq!(sample.token, allowed);
    }
}

#[test]
fn a_bias_decides_the_greedy_choice_and_stays_until_the_slot_is_opened_anew() {
    let logits = [0.0f32; VOCAB];
    let mut sampler = biased(SamplingParams::default(), &[(9, 1.0), (3, -100.0)]);
    for position in 0..2 {
        let sample = sampler.sample(&logits, &[row(0, position)]).expect("valid");
        assert_eq!(sample[0].token, 9);
    }
    sampler
        .open(0, SamplingParams::default(), &[], &[])
        .expect("valid");
    assert_eq!(
        sampler.sample(&logits, &[row(0, 2)]).expect("valid")[0].token,
        0
    );
}

#[test]
fn bad_masks_and_biases_are_refused_before_anything_changes() {
    let mut sampler = biased(SamplingParams::default(), &[(9, 1.0)]);
    for words in [vec![], vec![u32::MAX], vec![u32::MAX; 3]] {
        let error = sampler
            .draw(masked(&words, 0), &mut [0.0; VOCAB])
            .expect_err("refused");
        let text = format!("the mask of slot 0 has {} words, expected 2", words.len());
        assert_eq!(error.to_string(), text);
        assert_eq!(sampler.check(&[masked(&words, 0)]), Err(error));
    }
    let cases = [
        (
            0,
            (40, 1.0),
            "token id 40 is not below the vocabulary of 40",
        ),
        (
            0,
            (1, f32::NAN),
            "logit_bias is NaN, expected a finite number",
        ),
        (
            0,
            (1, f32::INFINITY),
            "logit_bias is inf, expected a finite number",
        ),
        (1, (1, 1.0), "slot 1 is not open"),
        (4, (1, 1.0), "slot 4 is not below 4"),
    ];
    for (slot, bias, message) in cases {
        let error = sampler.bias(slot, &[bias]).expect_err("refused");
        assert_eq!(error.to_string(), message);
    }
    let sample = sampler.draw(row(0, 0), &mut [0.0; VOCAB]).expect("valid");
    assert_eq!(sample.token, 9);
}

#[test]
fn a_draw_counts_nothing_and_a_commit_does() {
    let params = SamplingParams {
        presence_penalty: 1.0,
        ..SamplingParams::default()
    };
    let mut sampler = sampler(params);
    let mut logits = [0.0f32; VOCAB];
    let mut draw = |sampler: &Sampler| {
        logits = [0.0; VOCAB];
        sampler.draw(row(0, 0), &mut logits).expect("valid")
    };
    let first = draw(&sampler);
    assert_eq!(draw(&sampler), first);
    let twice = sampler.commit(&[row(0, 0), row(0, 0)], &[first.clone(), first.clone()]);
    assert_eq!(twice, Err(SamplerError::SlotTwice(0)));
    assert_eq!(draw(&sampler), first);
    sampler.commit(&[row(0, 0)], &[first]).expect("valid");
    assert_eq!(draw(&sampler).token, 1);
}

#[test]
fn penalties_follow_their_definitions() {
    let mut logits = [2.0, -2.0, 1.0, 0.5];
    let params = SamplingParams {
        repetition_penalty: 2.0,
        frequency_penalty: 0.5,
        presence_penalty: 0.25,
        ..SamplingParams::default()
    };
    let counts = Counts::new(&params, &[0, 1], &[2, 2]);
    counts.penalize(&params, &mut Edit::new(&mut logits));
    assert_eq!(logits, [1.0, -4.0, 0.5 - 2.0 * 0.5 - 0.25, 0.5]);
}

#[test]
fn a_penalty_never_leaves_nothing_to_draw() {
    let mut logits = [f32::NEG_INFINITY; VOCAB];
    logits[9] = f32::MIN;
    for temperature in [0.0, 1.0] {
        let params = SamplingParams {
            temperature,
            repetition_penalty: 5.0,
            ..SamplingParams::default()
        };
        let mut sampler = Sampler::new(VOCAB, 1);
        sampler.open(0, params, &[9], &[]).expect("valid");
        assert_eq!(
            sampler.sample(&logits, &[row(0, 0)]).expect("valid")[0].token,
            9
        );
    }
}

#[test]
fn drawn_tokens_count() {
    let mut sampler = Sampler::new(3, 1);
    let params = SamplingParams {
        presence_penalty: 1.0,
        ..SamplingParams::default()
    };
    sampler.open(0, params, &[], &[]).expect("valid");
    let logits = [1.0, 0.9, 0.8];
    let drawn: Vec<u32> = (0..3)
        .map(|position| sampler.sample(&logits, &[row(0, position)]).expect("valid")[0].token)
        .collect();
    assert_eq!(drawn, [0, 1, 2]);
}
