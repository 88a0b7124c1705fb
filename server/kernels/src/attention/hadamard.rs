//! The Hadamard rotation that keys and queries stand behind when keys have 8 bits.
//!
//! It spreads a head's outliers over all its values, so that one scale fits them (QuaRot, Ashkboos
//! et al., arXiv:2404.00456). Rotating both sides leaves products as they are.

/// Values of a block that is rotated in one go.
const LANES: usize = 16;

/// Rotates the values in place by the normalized Hadamard matrix (of Sylvester's order) of the largest
/// power of two that divides their number, block by block.
#[inline(always)]
pub(super) fn rotate(head: &mut [f32]) {
    let size = 1 << head.len().trailing_zeros();
    let mut half = 1;
    if size >= LANES {
        head.as_chunks_mut().0.iter_mut().for_each(rotate_lanes);
        half = LANES;
    }
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

/// Sums and differences of neighbours, put into two halves, four times: that is the transform, with
/// every step the same few shuffles.
#[inline(always)]
fn rotate_lanes(lanes: &mut [f32; LANES]) {
    const HALF: usize = LANES / 2;
    for _ in 0..LANES.trailing_zeros() {
        let even: [f32; HALF] = std::array::from_fn(|i| lanes[2 * i]);
        let odd: [f32; HALF] = std::array::from_fn(|i| lanes[2 * i + 1]);
        for i in 0..HALF {
            lanes[i] = even[i] + odd[i];
            lanes[i + HALF] = even[i] - odd[i];
        }
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
    fn equals_the_matrix() {
        for len in [4, 20, 48, 64] {
            let size = 1 << usize::trailing_zeros(len);
            for at in 0..len {
                let mut head = vec![0.0; len];
                head[at] = (size as f32).sqrt();
                rotate(&mut head);
                for (i, value) in head.into_iter().enumerate() {
                    let sign = if (at & i & (size - 1)).count_ones() % 2 == 0 {
                        1.0
                    } else {
                        -1.0
                    };
                    let expected = if i / size == at / size { sign } else { 0.0 };
                    assert!((value - expected).abs() < 1e-6, "{len}: {at} {i}");
                }
            }
        }
    }
}
