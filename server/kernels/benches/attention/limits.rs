//! What the machine can do at best.

use std::fmt;
use std::hint::black_box;
use std::time::{Duration, Instant};

use kernels::simd::{Isa, Kernel, LANES, Simd};
use kernels::threads::Team;
use kv::PagePool;

use crate::case::Loaded;

const PROBE_BYTES: usize = 1 << 28;
const CHAINS: usize = 12;
const LINKS: usize = 1 << 16;
const DECODE_GOAL: f64 = 0.8;

pub(crate) struct Limits {
    /// Bytes read a second.
    memory: f64,
    /// Operations on bfloat16 pairs a second.
    products: f64,
}

impl Limits {
    pub(crate) fn measure(team: &mut Team) -> Self {
        let pool = PagePool::new(1, PROBE_BYTES).expect("memory");
        // SAFETY: the pool's bytes, which are zero, and nobody writes them once they are there.
        let data = unsafe {
            pool.as_ptr().write_bytes(1, PROBE_BYTES);
            std::slice::from_raw_parts(pool.as_ptr().cast::<u64>(), PROBE_BYTES / 8)
        };
        let memory = best(|| {
            team.run(|member| {
                let mine = &data[member.share(data.len(), 8)];
                black_box(mine.iter().fold(0u64, |sum, x| sum.wrapping_add(*x)));
            })
            .expect("no panic");
        });
        let products = best(|| {
            team.run(|_| black_box(Isa::detect().run(Products)).fold_away())
                .expect("no panic");
        });
        let operations = team.count() * LINKS * CHAINS * LANES * 4;
        Self {
            memory: PROBE_BYTES as f64 / memory.as_secs_f64(),
            products: operations as f64 / products.as_secs_f64(),
        }
    }

    /// A line on how near a case came. Decoding must reach [`DECODE_GOAL`] of the speed of memory,
    /// unless sequences share pages, which arithmetic bounds.
    pub(crate) fn share(&self, loaded: &Loaded, best: Duration) -> String {
        let seconds = best.as_secs_f64();
        let (bytes, operations) = (loaded.bytes() as f64, loaded.operations() as f64);
        let verdict = if loaded.is_separate_decode() {
            let reached = bytes / seconds >= DECODE_GOAL * self.memory;
            let word = if reached { "pass" } else { "miss" };
            format!("; {word}: goal {:.0}% of memory", 100.0 * DECODE_GOAL)
        } else {
            String::new()
        };
        format!(
            "    best {:.1} us a layer: {:.1} GB/s, {:.0}% of memory; {:.0} GFLOP/s, {:.0}% of bf16{verdict}",
            seconds * 1e6 / loaded.layers() as f64,
            bytes / seconds / 1e9,
            100.0 * bytes / seconds / self.memory,
            operations / seconds / 1e9,
            100.0 * operations / seconds / self.products,
        )
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (memory, products) = (self.memory / 1e9, self.products / 1e9);
        write!(f, "memory {memory:.1} GB/s, bf16 {products:.0} GFLOP/s")
    }
}

fn best(mut work: impl FnMut()) -> Duration {
    (0..7)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed()
        })
        .min()
        .expect("several rounds")
}

/// Independent chains of bfloat16 products.
struct Products;

trait FoldAway {
    fn fold_away(self);
}

impl FoldAway for f32 {
    fn fold_away(self) {
        black_box(self);
    }
}

impl Kernel for Products {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self) -> f32 {
        let (a, b) = (
            black_box(S::splat_i(0x3f80_3f80)),
            black_box(S::splat_i(0x3f00_3f00)),
        );
        let mut sums = [S::splat(0.0); CHAINS];
        for _ in 0..LINKS {
            for sum in &mut sums {
                *sum = S::dot_bf16(*sum, a, b);
            }
        }
        sums.into_iter().fold(0.0, |total, sum| total + S::sum(sum))
    }
}
