//! How fast threads read memory together: the limit that decoding is held against.

use std::hint::black_box;
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

use crate::stats::Summary;

/// Bytes that each thread reads: many times what caches hold.
const BYTES: usize = 256 << 20;

/// One point: the rate of all threads together.
pub(super) fn measure(threads: usize, repeats: u32) -> Vec<Value> {
    let buffers: Vec<_> = (0..threads).map(|_| vec![1_u64; BYTES / 8]).collect();
    let rates = (0..repeats).map(|_| read(&buffers)).collect();
    vec![json!({ "threads": threads, "gigabytes_per_second": Summary::of(rates) })]
}

fn read(buffers: &[Vec<u64>]) -> f64 {
    let began = Instant::now();
    thread::scope(|scope| {
        for buffer in buffers {
            scope.spawn(|| {
                black_box(
                    buffer
                        .iter()
                        .fold(0_u64, |sum, word| sum.wrapping_add(*word)),
                )
            });
        }
    });
    (buffers.len() * BYTES) as f64 / began.elapsed().as_secs_f64() / 1e9
}
