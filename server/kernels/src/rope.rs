//! Rotary position embedding (Su et al., arXiv:2104.09864): cell i of a head turns with cell
//! i + rotary / 2, cells behind `rotary` stay.
#![expect(unsafe_code, reason = "reads and writes by address")]

use crate::norm::vectors;
use crate::simd::{Isa, Kernel, Simd};

/// Cosines and sines of one position: `frequencies.len()` each.
///
/// frequencies: radians per position; factor: multiplies both, for ropes that scale attention.
///
/// # Panics
/// Unless all three are of one length.
pub fn angles(
    position: u32,
    frequencies: &[f32],
    factor: f32,
    cosines: &mut [f32],
    sines: &mut [f32],
) {
    assert!(cosines.len() == frequencies.len() && sines.len() == frequencies.len());
    for ((frequency, cosine), sine) in frequencies.iter().zip(cosines).zip(sines) {
        // The product in single precision, as the models were trained.
        let angle = f64::from(position as f32 * frequency);
        *cosine = angle.cos() as f32 * factor;
        *sine = angle.sin() as f32 * factor;
    }
}

/// Turns the first 2 * `cosines.len()` cells of each head, which lie one after the other.
///
/// # Panics
/// Unless the heads are whole and have that many cells, and sines are as many as cosines.
pub fn rotate(isa: Isa, heads: &mut [f32], head_dim: usize, cosines: &[f32], sines: &[f32]) {
    assert!(head_dim >= 2 * cosines.len() && sines.len() == cosines.len());
    assert!(heads.len().is_multiple_of(head_dim), "whole heads");
    isa.run(Rotate {
        heads,
        head_dim,
        cosines,
        sines,
    });
}

struct Rotate<'a> {
    heads: &'a mut [f32],
    head_dim: usize,
    cosines: &'a [f32],
    sines: &'a [f32],
}

impl Kernel for Rotate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let half = self.cosines.len();
        for head in self.heads.chunks_exact_mut(self.head_dim) {
            for (start, count) in vectors(half) {
                // SAFETY: the head has two halves, and `count` cells from `start` on are in each.
                unsafe {
                    let first = head.as_mut_ptr().add(start);
                    let second = first.add(half);
                    let (a, b) = (S::load_first(first, count), S::load_first(second, count));
                    let cosine = S::load_first(self.cosines.as_ptr().add(start), count);
                    let sine = S::load_first(self.sines.as_ptr().add(start), count);
                    let turned_a = S::sub(S::mul(a, cosine), S::mul(b, sine));
                    let turned_b = S::add(S::mul(b, cosine), S::mul(a, sine));
                    S::store_first(first, turned_a, count);
                    S::store_first(second, turned_b, count);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_pairs_by_their_angle_and_leaves_the_rest() {
        for isa in Isa::supported() {
            for half in [1, 8, 16, 20, 64] {
                let frequencies: Vec<f32> = (0..half).map(|i| 0.9f32.powi(i)).collect();
                let (mut cosines, mut sines) = (vec![0.0; half as usize], vec![0.0; half as usize]);
                angles(1000, &frequencies, 2.0, &mut cosines, &mut sines);
                let head: Vec<f32> = (0..2 * half + 3).map(|i| i as f32 - 7.0).collect();
                let mut heads = head.repeat(2);
                rotate(isa, &mut heads, head.len(), &cosines, &sines);
                let (turned, second) = heads.split_at(head.len());
                assert_eq!(turned, second);
                let half = half as usize;
                for i in 0..half {
                    let angle = f64::from(1000.0 * frequencies[i]);
                    let (a, b) = (f64::from(head[i]), f64::from(head[i + half]));
                    let expected = 2.0 * (a * angle.cos() - b * angle.sin());
                    assert!((f64::from(turned[i]) - expected).abs() < 1e-4, "{isa}");
                    let expected = 2.0 * (b * angle.cos() + a * angle.sin());
                    assert!(
                        (f64::from(turned[i + half]) - expected).abs() < 1e-4,
                        "{isa}"
                    );
                }
                assert_eq!(turned[2 * half..], head[2 * half..]);
            }
        }
    }
}
