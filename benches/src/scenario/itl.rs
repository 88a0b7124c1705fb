//! Time between the tokens of one stream: alone, and while a long prompt prefills beside it.

use anyhow::Result;
use serde_json::{Value, json};
use std::time::Instant;

use super::{Target, millis};
use crate::client::{Client, TokenStream};
use crate::stats::Summary;

const PROMPT_TOKENS: usize = 128;
const ALONE_TOKENS: usize = 64;
const LONG_PROMPT_TOKENS: usize = 4000;
/// More than a stream gets to while the long prompt prefills; it is dropped then.
const ENDLESS: usize = 2000;

/// One point alone, one beside a prefill.
///
/// # Errors
/// When the server fails a request.
pub(super) async fn measure(target: &mut Target, repeats: u32) -> Result<Vec<Value>> {
    let (mut alone, mut beside, mut long_ttft) = (vec![], vec![], vec![]);
    for _ in 0..repeats {
        let prompt = target.prompts.next(PROMPT_TOKENS);
        let run = target.client.generate(&prompt, ALONE_TOKENS).await?;
        alone.extend(run.finish().await?.gaps.into_iter().map(millis));
        let prompt = target.prompts.next(PROMPT_TOKENS);
        let mut stream = target.client.generate(&prompt, ENDLESS).await?;
        stream.next().await?;
        let long = target.prompts.next(LONG_PROMPT_TOKENS);
        let (gaps, ttft) = gaps_beside(&mut stream, &target.client, &long).await?;
        beside.extend(gaps);
        long_ttft.push(ttft);
    }
    Ok(vec![
        json!({"beside": "nothing", "itl_ms": Summary::of(alone)}),
        json!({
            "beside": format!("a prefill of {LONG_PROMPT_TOKENS} tokens"),
            "itl_ms": Summary::of(beside), "prefill_ttft_ms": Summary::of(long_ttft),
        }),
    ])
}

/// Milliseconds between the stream's tokens until the first token of `long`, and that token's.
async fn gaps_beside(
    stream: &mut TokenStream,
    client: &Client,
    long: &str,
) -> Result<(Vec<f64>, f64)> {
    let prefill = async { client.generate(long, 1).await?.finish().await };
    tokio::pin!(prefill);
    let mut last = Instant::now();
    let mut gaps = vec![];
    loop {
        tokio::select! {
            run = &mut prefill => return Ok((gaps, millis(run?.ttft))),
            arrival = stream.next() => {
                let at = arrival?.at;
                gaps.push(millis(at - last));
                last = at;
            }
        }
    }
}
