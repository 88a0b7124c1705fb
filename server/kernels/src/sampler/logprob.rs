//! Log probabilities of a row of logits. NaN counts as a logit of minus infinity.

/// Accumulators of a sum: fixed, so that the order of additions is.
const LANES: usize = 16;

/// Room for candidates of the largest logits beside those that lead so far.
const ROOM: usize = 256;

/// The id of the largest logit, the lowest among equals.
pub(super) fn argmax(logits: &[f32]) -> u32 {
    let best = maximum(logits);
    logits.iter().position(|&logit| logit == best).unwrap_or(0) as u32
}

/// The largest logit; minus infinity when there is none.
pub(super) fn maximum(logits: &[f32]) -> f32 {
    let (chunks, rest) = logits.as_chunks::<LANES>();
    let larger = |a: f32, b: f32| if b > a { b } else { a }; // leaves NaN out
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for (lane, &logit) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, logit);
        }
    }
    lanes
        .iter()
        .chain(rest)
        .copied()
        .fold(f32::NEG_INFINITY, larger)
}

/// e to the power of a number up to 0, to about 2 units in the last place; 0 for NaN and below -87,
/// where floats end.
///
/// Cephes' expf without branches and library calls, so that the compiler vectorises loops over it and
/// results do not depend on the C library.
pub(super) fn exp_of_negative(x: f32) -> f32 {
    const LEAST: f32 = -87.0;
    /// 1.5 * 2^23: adding it rounds to an integer, which then stands in the lowest bits.
    const ROUNDER: f32 = 12_582_912.0;
    let bounded = if x > LEAST { x } else { LEAST };
    let rounded = bounded * std::f32::consts::LOG2_E + ROUNDER;
    let exponent = rounded - ROUNDER;
    // ln 2 in two parts, the first with few bits, so that the products are exact.
    let r = bounded - exponent * 0.693_359_4 - exponent * -2.121_944_4e-4;
    let mut series = 1.987_569_1e-4;
    for coefficient in [
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ] {
        series = series * r + coefficient;
    }
    let power = f32::from_bits((rounded.to_bits() << 23).wrapping_add(1.0f32.to_bits()));
    let result = (series * r * r + r + 1.0) * power;
    if x > LEAST { result } else { 0.0 }
}

/// Natural log of the sum of exponentials. Additions are made in an order that only the row's
/// length decides.
pub(super) fn log_sum_exp(logits: &[f32]) -> f64 {
    let best = maximum(logits);
    if best.is_infinite() {
        return f64::from(best);
    }
    let (chunks, rest) = logits.as_chunks::<LANES>();
    let mut lanes = [0.0f64; LANES];
    for chunk in chunks {
        let powers = chunk.map(|logit| exp_of_negative(logit - best));
        for (lane, power) in lanes.iter_mut().zip(powers) {
            *lane += f64::from(power);
        }
    }
    for (lane, &logit) in lanes.iter_mut().zip(rest) {
        *lane += f64::from(exp_of_negative(logit - best));
    }
    f64::from(best) + lanes.iter().sum::<f64>().ln()
}

/// Log probability of a logit; a logit of plus infinity is certain.
pub(super) fn of(logit: f32, log_sum: f64) -> f32 {
    if logit == f32::INFINITY {
        0.0
    } else {
        (f64::from(logit) - log_sum) as f32
    }
}

/// The `n` most likely tokens, most likely first, lower ids first among equals. Fewer where fewer are
/// possible at all.
pub(super) fn top(logits: &[f32], n: usize, log_sum: f64) -> Vec<(u32, f32)> {
    let top = largest(logits, n)
        .into_iter()
        .map(|(id, logit)| (id, of(logit, log_sum)));
    top.filter(|(_, logprob)| logprob.is_finite()).collect()
}

/// The `n` largest logits above minus infinity, sorted from the largest, by id among equals.
pub(super) fn largest(logits: &[f32], n: usize) -> Vec<(u32, f32)> {
    let n = n.min(logits.len());
    if n == 0 {
        return Vec::new();
    }
    let mut leading = Vec::with_capacity(n + n.max(ROOM));
    let mut least = f32::NEG_INFINITY;
    for (id, &logit) in (0u32..).zip(logits) {
        // An equal logit has lost against those before it.
        if logit > least {
            leading.push((id, logit));
            if leading.len() == leading.capacity() {
                leading.select_nth_unstable_by(n - 1, by_logit);
                leading.truncate(n);
                least = leading[n - 1].1;
            }
        }
    }
    leading.sort_unstable_by(by_logit);
    leading.truncate(n);
    leading
}

/// From the largest logit, by id among equals; there is no NaN.
fn by_logit(a: &(u32, f32), b: &(u32, f32)) -> std::cmp::Ordering {
    b.1.partial_cmp(&a.1).expect("no NaN").then(a.0.cmp(&b.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_close_to_the_exact_one() {
        for step in 0..200_000 {
            let x = -87.0 * step as f32 / 200_000.0;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp_of_negative(x)) - exact).abs() / exact;
            assert!(error < 3e-7, "{x}: {error}");
        }
        assert_eq!(exp_of_negative(0.0), 1.0);
        for x in [-87.0, -1e30, f32::NEG_INFINITY, f32::NAN] {
            assert_eq!(exp_of_negative(x), 0.0);
        }
    }

    #[test]
    fn the_largest_are_those_of_a_sort() {
        let logits: Vec<f32> = (0..4000u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) % 700) as f32)
            .collect();
        let mut sorted: Vec<(u32, f32)> = (0..).zip(logits.iter().copied()).collect();
        sorted.sort_by(by_logit);
        for n in [0, 1, 5, 300, 3999, 4000, 9000] {
            assert_eq!(largest(&logits, n), sorted[..n.min(4000)]);
        }
    }

    #[test]
    fn the_largest_leave_out_what_is_impossible() {
        let logits = [f32::NAN, -0.0, f32::NEG_INFINITY, 0.0, -1.0];
        assert_eq!(largest(&logits, 9), [(1, -0.0), (3, 0.0), (4, -1.0)]);
    }
}
