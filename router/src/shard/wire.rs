//! Requests as protobuf messages.

use std::time::Duration;

use crate::pb;
use crate::queue::Entry;
use crate::request::ValidRequest;

/// The message for a request that may take `life` from now.
pub(crate) fn request(entry: &Entry, life: Duration) -> pb::Request {
    let request = &entry.request;
    pb::Request {
        id: entry.id,
        tokens: packed(&request.tokens),
        generated_from: u32::try_from(request.tokens.len()).expect("validation bounds the prompt"),
        max_new_tokens: request.max_new_tokens,
        sampling: Some(sampling(request)),
        stop_token_ids: request.stop_token_ids.clone(),
        top_n_tokens: request.top_n_tokens,
        domains: vec![],
        // 0 would mean never.
        timeout_ms: u64::try_from(life.as_millis()).unwrap_or(u64::MAX).max(1),
        prompt_logprobs: request.prompt_logprobs,
        progress: request.progress,
        grammar: request
            .grammar
            .as_ref()
            .map(|grammar| grammar.source().to_owned())
            .unwrap_or_default(),
        x_request_id: entry.x_request_id.clone(),
    }
}

/// Token ids as u32 little endian.
fn packed(tokens: &[u32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size_of_val(tokens));
    for token in tokens {
        bytes.extend_from_slice(&token.to_le_bytes());
    }
    bytes
}

fn sampling(request: &ValidRequest) -> pb::Sampling {
    let sampling = &request.sampling;
    let bias = |&(token_id, bias): &(u32, f32)| pb::LogitBias { token_id, bias };
    pb::Sampling {
        temperature: sampling.temperature,
        top_k: sampling.top_k,
        top_p: sampling.top_p,
        typical_p: sampling.typical_p,
        repetition_penalty: sampling.repetition_penalty,
        frequency_penalty: sampling.frequency_penalty,
        presence_penalty: sampling.presence_penalty,
        seed: sampling.seed,
        watermark_gamma: sampling.watermark.map_or(0.0, |mark| mark.gamma),
        watermark_delta: sampling.watermark.map_or(0.0, |mark| mark.delta),
        logit_bias: request.logit_bias.iter().map(bias).collect(),
    }
}
