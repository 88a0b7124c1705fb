//! Log probabilities of a row of logits. NaN counts as a logit of minus infinity.

/// Accumulators of the sum: fixed, so that the order of additions is.
const LANES: usize = 16;

/// The id of the largest logit, the lowest among equals.
pub(super) fn argmax(logits: &[f32]) -> u32 {
    let best = maximum(logits);
    logits.iter().position(|&logit| logit == best).unwrap_or(0) as u32
}

fn maximum(logits: &[f32]) -> f32 {
    // `f32::max` ignores NaN.
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = logits.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, &logit) in lanes.iter_mut().zip(chunk) {
            *lane = lane.max(logit);
        }
    }
    lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max)
}

/// Natural log of the sum of exponentials. Additions are made in an order that only the row's
/// length decides.
pub(super) fn log_sum_exp(logits: &[f32]) -> f64 {
    let best = maximum(logits);
    if best.is_infinite() {
        return f64::from(best);
    }
    let mut lanes = [0.0f64; LANES];
    for chunk in logits.chunks(LANES) {
        for (lane, &logit) in lanes.iter_mut().zip(chunk) {
            let power = (logit - best).exp();
            *lane += f64::from(if power.is_nan() { 0.0 } else { power });
        }
    }
    f64::from(best) + lanes.iter().sum::<f64>().ln()
}

/// Log probability of a logit; a logit of plus infinity is certain.
pub(super) fn of(logit: f32, log_sum: f64) -> f32 {
    if logit == f32::INFINITY { 0.0 } else { (f64::from(logit) - log_sum) as f32 }
}

/// The `n` most likely tokens, most likely first, lower ids first among equals.
pub(super) fn top(logits: &[f32], n: usize, log_sum: f64) -> Vec<(u32, f32)> {
    if n == 0 {
        return Vec::new();
    }
    largest(logits, n).into_iter().map(|(id, logit)| (id, of(logit, log_sum))).collect()
}

/// The `n` largest logits that are not NaN, sorted from the largest, by id among equals.
pub(super) fn largest(logits: &[f32], n: usize) -> Vec<(u32, f32)> {
    let mut all: Vec<(u32, f32)> =
        (0u32..).zip(logits.iter().copied()).filter(|(_, logit)| !logit.is_nan()).collect();
    let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if n < all.len() {
        all.select_nth_unstable_by(n, order);
        all.truncate(n);
    }
    all.sort_unstable_by(order);
    all
}
