//! The Hadamard rotation that keys and queries stand behind when keys have 8 bits.
//!
//! It spreads a head's outliers over all its values, so that one scale fits them (QuaRot, Ashkboos
//! et al., arXiv:2404.00456). Rotating both sides leaves products as they are.

/// Rotates the values in place by the normalized Hadamard matrix of the largest power of two that
/// divides their number, block by block. The butterflies are those of the fast Walsh-Hadamard
/// transform in natural order.
#[inline(always)]
pub(super) fn rotate(head: &mut [f32]) {
    let size = 1 << head.len().trailing_zeros();
    let mut half = 1;
    while half < size {
        for pair in head.chunks_exact_mut(2 * half) {
            let (low, high) = pair.split_at_mut(half);
            for (a, b) in low.iter_mut().zip(high) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half *= 2;
    }
    let factor = 1.0 / (size as f32).sqrt();
    for value in head {
        *value *= factor;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotates_and_turns_back() {
        for len in [1, 2, 20, 64, 80, 96, 256] {
            let head: Vec<f32> = (0..len).map(|i| (i * i % 17) as f32 - 8.0).collect();
            let mut rotated = head.clone();
            rotate(&mut rotated);
            let square = |values: &[f32]| values.iter().map(|x| x * x).sum::<f32>();
            assert!(
                (square(&head) - square(&rotated)).abs() <= 1e-5 * square(&head),
                "{len}"
            );
            rotate(&mut rotated);
            for (a, b) in head.iter().zip(&rotated) {
                assert!((a - b).abs() < 1e-5, "{len}: {a} {b}");
            }
        }
    }

    #[test]
    fn spreads_one_outlier_evenly() {
        let mut head = [0.0; 64];
        head[5] = 8.0;
        rotate(&mut head);
        assert!(head.iter().all(|value| value.abs() == 1.0));
    }
}
