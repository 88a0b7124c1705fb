//! Pages and inputs to test with.

use std::ptr::NonNull;

use super::*;

/// Memory for pages, filled with bits that are NaN in every format.
pub(super) struct Pool {
    memory: Vec<Line>,
    layout: KvLayout,
    count: usize,
}

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

impl Pool {
    pub(super) fn new(setting: &Setting, count: usize) -> Self {
        let layout = KvLayout::new(setting.kind, LAYERS, setting.kv_heads, setting.head_dim);
        let layout = layout.expect("a valid layout");
        let lines = layout.page_bytes() * count / 64;
        Self {
            memory: vec![Line([0xff; 64]); lines],
            layout,
            count,
        }
    }

    pub(super) fn pages(&mut self) -> Pages {
        let base = NonNull::new(self.memory.as_mut_ptr().cast()).expect("not null");
        unsafe { Pages::new(self.layout, base, self.count) }
    }
}

/// Pages of a sequence.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Table {
    pub(super) ids: Vec<i32>,
}

impl Table {
    pub(super) fn in_order(len: usize) -> Self {
        let ids = (0..len.div_ceil(PAGE_TOKENS) as i32).collect();
        Self { ids }
    }
}

/// Queries, keys and values of a sequence, `[len, heads * head_dim]`.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    pub(super) len: usize,
    pub(super) q: Vec<f32>,
    pub(super) k: Vec<f32>,
    pub(super) v: Vec<f32>,
}

impl Stream {
    pub(super) fn new(setting: &Setting, len: usize, seed: u64) -> Self {
        let mut random = Random(seed);
        let mut cells = |heads: usize, size: f32| -> Vec<f32> {
            let count = len * heads * setting.head_dim;
            (0..count).map(|_| random.normal() * size).collect()
        };
        Self {
            len,
            q: cells(setting.heads(), 2.0),
            k: cells(setting.kv_heads, 1.0),
            v: cells(setting.kv_heads, 1.0),
        }
    }

    /// Takes the first `len` tokens' keys and values from another stream.
    pub(super) fn with_prefix(mut self, other: &Self, len: usize) -> Self {
        let width = other.k.len() / other.len;
        self.k[..len * width].copy_from_slice(&other.k[..len * width]);
        self.v[..len * width].copy_from_slice(&other.v[..len * width]);
        self
    }
}

/// SplitMix64 (Steele et al., 2014).
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// About a normal distribution.
    fn normal(&mut self) -> f32 {
        let bits = self.next();
        let sum: u64 = (0..4).map(|i| bits >> (16 * i) & 0xffff).sum();
        (sum as f32 / 65536.0 - 2.0) * 1.7
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 33) as usize % bound
    }
}
