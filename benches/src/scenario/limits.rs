//! What the machine can do with a number of threads: the limits that engines are held against.

use std::hint::black_box;
use std::thread;
use std::time::Instant;

use kernels::simd::{Isa, Kernel, Simd};
use serde_json::{Value, json};

use crate::stats::Summary;

/// Bytes that each thread reads: many times what caches hold.
const BYTES: usize = 256 << 20;
/// Dot products that do not wait for each other: more than a processor has under way.
const CHAINS: usize = 14;
const ROUNDS: usize = 400_000;
/// Products of a dot instruction on 64 bytes.
const BF16_PRODUCTS: usize = 32;
const INT8_PRODUCTS: usize = 64;

/// One point, the rates of all threads together. An operation is a multiplication or an addition.
pub(super) fn measure(threads: usize, repeats: u32) -> Vec<Value> {
    let isa = Isa::detect();
    let buffers: Vec<_> = (0..threads).map(|_| vec![1_u64; BYTES / 8]).collect();
    let rates = |amount: usize, work: &(dyn Fn(usize) + Sync)| {
        Summary::of((0..repeats).map(|_| rate(threads, amount, work)).collect())
    };
    let dots = |products: usize| 2 * products * CHAINS * ROUNDS;
    vec![json!({
        "threads": threads,
        "memory_gigabytes_per_second": rates(BYTES, &|thread| read(&buffers[thread])),
        "bf16_gigaops_per_second": rates(dots(BF16_PRODUCTS), &|_| isa.run(Bf16Dots)),
        "int8_gigaops_per_second": rates(dots(INT8_PRODUCTS), &|_| isa.run(Int8Dots)),
    })]
}

/// Billions a second, where the work of each thread is `amount`.
fn rate(threads: usize, amount: usize, work: &(dyn Fn(usize) + Sync)) -> f64 {
    let began = Instant::now();
    thread::scope(|scope| {
        for number in 0..threads {
            scope.spawn(move || work(number));
        }
    });
    (threads * amount) as f64 / began.elapsed().as_secs_f64() / 1e9
}

fn read(buffer: &[u64]) {
    black_box(
        buffer
            .iter()
            .fold(0_u64, |sum, word| sum.wrapping_add(*word)),
    );
}

struct Bf16Dots;

impl Kernel for Bf16Dots {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let (a, b) = (S::splat_i(0x3f80_3f80), S::splat_i(black_box(0x3f80_3f80)));
        let mut sums = [S::splat(0.0); CHAINS];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = S::dot_bf16(*sum, a, b);
            }
        }
        black_box(sums.map(|sum| S::sum(sum)));
    }
}

struct Int8Dots;

impl Kernel for Int8Dots {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let (a, b) = (S::splat_i(0x0101_0101), S::splat_i(black_box(0x0101_0101)));
        let mut sums = [S::splat_i(0); CHAINS];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = S::dot_u8i8(*sum, a, b);
            }
        }
        black_box(sums.map(|sum| S::sum(S::to_f(sum))));
    }
}
