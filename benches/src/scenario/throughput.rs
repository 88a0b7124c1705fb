//! Tokens a second with several streams at once.

use std::time::Instant;

use anyhow::Result;
use futures::future::try_join_all;
use serde_json::{Value, json};

use super::Target;
use crate::stats::Summary;

const STREAMS: [usize; 3] = [1, 8, 32];
const PROMPT_TOKENS: usize = 64;
const ANSWER_TOKENS: usize = 64;

/// One point for each number of streams.
///
/// # Errors
/// When the server fails a request.
pub(super) async fn measure(target: &mut Target, repeats: u32) -> Result<Vec<Value>> {
    let mut points = vec![];
    for streams in STREAMS {
        let mut rates = vec![];
        for _ in 0..repeats {
            let prompts: Vec<_> = (0..streams)
                .map(|_| target.prompts.next(PROMPT_TOKENS))
                .collect();
            let started = Instant::now();
            let client = &target.client;
            try_join_all(prompts.iter().map(|prompt| async move {
                client.generate(prompt, ANSWER_TOKENS).await?.finish().await
            }))
            .await?;
            let tokens = (streams * ANSWER_TOKENS) as f64;
            rates.push(tokens / started.elapsed().as_secs_f64());
        }
        points.push(json!({
            "streams": streams, "prompt_tokens": PROMPT_TOKENS, "answer_tokens": ANSWER_TOKENS,
            "tokens_per_second": Summary::of(rates),
        }));
    }
    Ok(points)
}
