//! Tokens that are in the text already.

use super::*;

#[test]
fn a_score_is_what_a_draw_would_have_reported() {
    let logits: Vec<f32> = (0..VOCAB).map(|id| ((id * 7) % 11) as f32 / 3.0).collect();
    let params = SamplingParams {
        temperature: 1.3,
        top_n: 4,
        ..SamplingParams::default()
    };
    for position in 0..50 {
        let drawn = one(params, &logits, position);
        let score = Score {
            token: drawn.token,
            top_n: 4,
        };
        let scored = sampler(params).score(score, &logits).expect("a token");
        assert_eq!(scored, drawn);
    }
}

#[test]
fn the_shape_and_the_token_are_checked() {
    let sampler = sampler(SamplingParams::default());
    let score = |token| Score { token, top_n: 0 };
    let logits = [0.0; 2 * VOCAB];
    let last = VOCAB as u32 - 1;
    let scored = sampler.score_all(&logits, &[score(0), score(last)]);
    assert_eq!(scored.expect("two tokens").len(), 2);
    for scores in [vec![score(0)], vec![score(0), score(last + 1)]] {
        sampler
            .score_all(&logits, &scores)
            .expect_err("a row too many, a token too large");
    }
}
