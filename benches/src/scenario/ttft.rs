//! Time to first token: a prompt never seen before, and the next turn on it.

use anyhow::Result;
use serde_json::{Value, json};

use super::{Target, millis};
use crate::stats::{Summary, rounded};

const PROMPT_TOKENS: [usize; 3] = [512, 2000, 7000];
const ANSWER_TOKENS: usize = 8;
const TURN_TOKENS: usize = 32;

/// One point for each prompt length.
///
/// # Errors
/// When the server fails a request.
pub(super) async fn measure(target: &mut Target, repeats: u32) -> Result<Vec<Value>> {
    let mut points = vec![];
    for tokens in PROMPT_TOKENS {
        let (mut cold, mut warm, mut cached) = (vec![], vec![], vec![]);
        for _ in 0..repeats {
            let mut history = target.prompts.next(tokens);
            let first = target.client.generate(&history, ANSWER_TOKENS).await?;
            let first = first.finish().await?;
            history.push_str(&first.end.text);
            history.push_str(&target.prompts.next(TURN_TOKENS));
            let second = target.client.generate(&history, ANSWER_TOKENS).await?;
            let second = second.finish().await?;
            cold.push(millis(first.ttft));
            warm.push(millis(second.ttft));
            cached.push(second.end.cached_tokens as f64);
        }
        let (cold, warm) = (Summary::of(cold), Summary::of(warm));
        points.push(json!({
            "prompt_tokens": tokens, "new_tokens": TURN_TOKENS,
            "ratio": rounded(cold.p50 / warm.p50), "cold_ms": cold, "warm_ms": warm,
            "warm_cached_tokens": Summary::of(cached),
        }));
    }
    Ok(points)
}
