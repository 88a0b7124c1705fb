//! The watermark.

use super::*;

const WIDE: usize = 2000;

fn marked(delta: f32) -> SamplingParams {
    SamplingParams {
        temperature: 1.0,
        watermark_delta: delta,
        seed: 5,
        ..SamplingParams::default()
    }
}

/// Tokens drawn one behind the other from even logits.
fn text(params: SamplingParams, count: u32, begun: &[u32]) -> Vec<u32> {
    let mut sampler = Sampler::new(WIDE, 1);
    sampler.open(0, params, &[3], begun).expect("valid");
    let first = begun.len() as u32;
    (first..first + count)
        .map(|position| {
            let drawn = sampler.sample(&[0.0; WIDE], &[row(0, position)]);
            drawn.expect("valid")[0].token
        })
        .collect()
}

/// How far above chance the share of green tokens is, in standard deviations.
fn z_score(tokens: &[u32], gamma: f64) -> f64 {
    let pairs = tokens.len() as f64 - 1.0;
    let green = tokens
        .windows(2)
        .filter(|pair| is_green(pair[0], pair[1], gamma as f32))
        .count();
    (green as f64 - gamma * pairs) / (pairs * gamma * (1.0 - gamma)).sqrt()
}

#[test]
fn a_watermark_shows_and_its_absence_does_not() {
    assert!(z_score(&text(marked(2.0), 300, &[]), 0.5) > 8.0);
    assert!(z_score(&text(marked(0.0), 300, &[]), 0.5).abs() < 4.0);
}

#[test]
fn a_resumed_text_goes_on_with_the_same_watermark() {
    let whole = text(marked(2.0), 40, &[]);
    for kept in [1, 20, 39] {
        let rest = text(marked(2.0), 40 - kept as u32, &whole[..kept]);
        assert_eq!(rest, whole[kept..]);
    }
}

#[test]
fn gamma_is_the_share_of_green_tokens() {
    for gamma in [0.1_f32, 0.5, 0.9] {
        let green = (0..100_000).filter(|&token| is_green(7, token, gamma));
        let share = green.count() as f64 / 100_000.0;
        assert!((share - f64::from(gamma)).abs() < 0.01, "{share}");
    }
}

#[test]
fn reported_log_probabilities_ignore_the_watermark() {
    let logits: Vec<f32> = (0..VOCAB).map(|id| id as f32 / 9.0).collect();
    let mut sampler = Sampler::new(VOCAB, 1);
    sampler.open(0, marked(1.5), &[3], &[]).expect("valid");
    let drawn = sampler.sample(&logits, &[row(0, 1)]).expect("valid");
    let expected = softmax(&logits)[drawn[0].token as usize].ln();
    assert!((f64::from(drawn[0].logprob) - expected).abs() < 1e-5);
}

#[test]
fn the_ranges_are_checked() {
    let params = |watermark_gamma, watermark_delta| SamplingParams {
        watermark_gamma,
        watermark_delta,
        ..SamplingParams::default()
    };
    for (gamma, delta) in [(0.0, 2.0), (1.0, 2.0), (0.5, -0.1), (f32::NAN, 1.0)] {
        let error = params(gamma, delta).validate().expect_err("out of range");
        assert!(error.to_string().starts_with("watermark"), "{error}");
    }
    params(0.25, 10.0).validate().expect("in range");
}
