//! Pages and inputs to test with.

use std::ptr::NonNull;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

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
        let mut random = Random(ChaCha8Rng::seed_from_u64(seed));
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

pub(super) struct Random(pub(super) ChaCha8Rng);

impl Random {
    /// About a normal distribution.
    fn normal(&mut self) -> f32 {
        let mut uniform = || self.0.next_u32() as f32 / u32::MAX as f32 - 0.5;
        (uniform() + uniform() + uniform() + uniform()) * 1.7
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0.next_u32() as usize % bound
    }
}
