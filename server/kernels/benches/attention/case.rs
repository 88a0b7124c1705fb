//! A step's attention, with keys and values of every layer in memory.

use std::ptr::NonNull;

use kernels::attention::{
    AttentionPlan, KvKind, KvLayout, LayerAttention, PAGE_TOKENS, Pages, PlanShape, Rows, RowsMut,
    Scratch, SequenceRows, write_kv,
};
use kernels::simd::Isa;
use kernels::threads::Team;
use kv::PagePool;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) kind: KvKind,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) sequences: usize,
    /// Tokens of each before the step.
    pub(crate) context: usize,
    /// New tokens of each.
    pub(crate) rows: usize,
    pub(crate) window: Option<usize>,
    /// Tokens that all begin with, on the same pages.
    pub(crate) shared: usize,
    pub(crate) sharing: bool,
}

impl Case {
    fn tokens(&self) -> usize {
        self.context + self.rows
    }

    /// Keys that the row at a position of a sequence sees.
    fn visible(&self, position: usize) -> std::ops::Range<usize> {
        let window = self.window.unwrap_or(usize::MAX);
        (position + 1).saturating_sub(window)..position + 1
    }
}

pub(crate) struct Loaded {
    case: Case,
    memory: PagePool,
    tables: Vec<Vec<i32>>,
    scratch: Scratch,
    q: Vec<f32>,
    out: Vec<f32>,
}

/// Number `i` of the keys (`what` 0) or values (1) of a token; the same for tokens that share.
fn kv(case: &Case, (layer, what): (usize, u64), sequence: usize, index: usize) -> f32 {
    let width = case.kv_heads * case.head_dim;
    let sequence = if index / width < case.shared {
        0
    } else {
        sequence
    };
    let key = index as u64 + ((layer as u64 * 2 + what) * 64 + sequence as u64) * (1 << 32);
    noise(key)
}

/// A hash (SplitMix64) as a float of -1 to 1.
fn noise(key: u64) -> f32 {
    let mut x = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x >> 40) as f32 / (1 << 23) as f32) - 1.0
}

impl Loaded {
    pub(crate) fn new(case: Case, team: &mut Team) -> Self {
        let layout = KvLayout::new(case.kind, case.layers, case.kv_heads, case.head_dim);
        let layout = layout.expect("a valid layout");
        let (tables, num_pages) = tables(&case);
        let rows = case.sequences * case.rows;
        let width = case.heads * case.head_dim;
        let mut loaded = Self {
            case,
            memory: PagePool::new(num_pages as u32, layout.page_bytes()).expect("memory"),
            tables,
            scratch: Scratch::new(&layout, team.count()),
            q: (0..rows * width).map(|i| 2.0 * noise(i as u64)).collect(),
            out: vec![0.0; rows * width],
        };
        let pages = loaded.pages(layout);
        team.run(|member| {
            for layer in member.share(case.layers, 1) {
                loaded.write(&pages, layer);
            }
        })
        .expect("no panic");
        loaded.run(team);
        loaded
    }

    fn pages(&self, layout: KvLayout) -> Pages {
        let base = NonNull::new(self.memory.as_ptr()).expect("not null");
        unsafe { Pages::new(layout, base, self.num_pages()) }
    }

    fn num_pages(&self) -> usize {
        self.memory.num_pages() as usize
    }

    fn write(&self, pages: &Pages, layer: usize) {
        let case = &self.case;
        let width = case.kv_heads * case.head_dim;
        for (i, table) in self.tables.iter().enumerate() {
            let cells = |what| -> Vec<f32> {
                let cells = 0..case.tokens() * width;
                cells.map(|cell| kv(case, (layer, what), i, cell)).collect()
            };
            let [k, v] = [cells(0), cells(1)];
            let all = SequenceRows {
                first_row: 0,
                num_rows: case.tokens(),
                context: 0,
                pages: table,
            };
            let kv = [Rows::new(&k, width), Rows::new(&v, width)];
            unsafe { write_kv(Isa::detect(), (pages, layer), &[all], 0..case.tokens(), kv) };
        }
    }

    /// All layers of a step.
    pub(crate) fn run(&mut self, team: &mut Team) {
        let case = self.case;
        let layout = KvLayout::new(case.kind, case.layers, case.kv_heads, case.head_dim);
        let pages = self.pages(layout.expect("a valid layout"));
        let sequences: Vec<SequenceRows<'_>> = self
            .tables
            .iter()
            .enumerate()
            .map(|(i, table)| SequenceRows {
                first_row: i * case.rows,
                num_rows: case.rows,
                context: case.context,
                pages: table,
            })
            .collect();
        let shape = PlanShape {
            num_heads: case.heads,
            num_kv_heads: case.kv_heads,
            num_pages: self.num_pages(),
            window: case.window,
            num_threads: team.count(),
            sharing: case.sharing,
        };
        let plan = AttentionPlan::new(&sequences, shape).expect("a valid step");
        self.scratch.prepare(&plan);
        let width = case.heads * case.head_dim;
        let (q, out) = (
            Rows::new(&self.q, width),
            RowsMut::new(&mut self.out, width),
        );
        let isa = Isa::detect();
        let scratch = &self.scratch;
        team.run(|member| {
            for layer in 0..case.layers {
                let attention = LayerAttention {
                    plan: &plan,
                    pages: &pages,
                    layer,
                    scale: 1.0 / (case.head_dim as f32).sqrt(),
                    softcap: None,
                    scratch,
                };
                unsafe { attention.attend(isa, member.index(), q, out) };
                member.wait();
                if plan.needs_fold() {
                    unsafe { attention.fold(isa, member.index(), out) };
                    member.wait();
                }
            }
        })
        .expect("no panic");
    }

    /// Compares some rows of the last layer with attention by its definition.
    pub(crate) fn check(&self) {
        let (case, dim) = (&self.case, self.case.head_dim);
        for sequence in [0, case.sequences - 1] {
            for row in [0, case.rows / 2, case.rows - 1] {
                for head in [0, case.heads - 1] {
                    let start = ((sequence * case.rows + row) * case.heads + head) * dim;
                    let q = &self.q[start..start + dim];
                    let expected = self.defined(sequence, case.context + row, head, q);
                    for (value, expected) in self.out[start..start + dim].iter().zip(expected) {
                        let error = (f64::from(*value) - expected).abs();
                        assert!(error < 0.02, "{case:?}: {value} instead of {expected}");
                    }
                }
            }
        }
    }

    /// Attention of one query in double precision.
    fn defined(&self, sequence: usize, position: usize, head: usize, q: &[f32]) -> Vec<f64> {
        let (case, dim) = (&self.case, self.case.head_dim);
        let kv_head = head / (case.heads / case.kv_heads);
        let cell = |what, key: usize, i: usize| {
            let index = (key * case.kv_heads + kv_head) * dim + i;
            f64::from(kv(case, (case.layers - 1, what), sequence, index))
        };
        let (mut total, mut sums) = (0.0, vec![0.0; dim]);
        for key in case.visible(position) {
            let dot: f64 = (0..dim).map(|i| f64::from(q[i]) * cell(0, key, i)).sum();
            let weight = (dot / (dim as f64).sqrt()).exp();
            total += weight;
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum += weight * cell(1, key, i);
            }
        }
        sums.iter().map(|sum| sum / total).collect()
    }

    pub(crate) fn layers(&self) -> usize {
        self.case.layers
    }

    /// One new token of each sequence, none of which shares pages.
    pub(crate) fn is_separate_decode(&self) -> bool {
        self.case.rows == 1 && self.case.shared == 0
    }

    /// Bytes of keys and values that a step must read, each once a sequence, or once in all where it
    /// is shared.
    pub(crate) fn bytes(&self) -> usize {
        let case = &self.case;
        let layout = KvLayout::new(case.kind, case.layers, case.kv_heads, case.head_dim);
        let page_bytes = layout.expect("a valid layout").page_bytes();
        let first = case.visible(case.context).start;
        let own = case.tokens() - first.max(case.shared);
        let shared = case.shared.saturating_sub(first);
        (own * case.sequences + shared) * page_bytes / PAGE_TOKENS
    }

    /// Multiplications and additions of a step.
    pub(crate) fn operations(&self) -> usize {
        let case = &self.case;
        let keys: usize = (case.context..case.tokens())
            .map(|p| case.visible(p).len())
            .sum();
        case.layers * case.sequences * keys * case.heads * case.head_dim * 4
    }
}

/// Pages of each sequence, shuffled, and how many there are.
fn tables(case: &Case) -> (Vec<Vec<i32>>, usize) {
    let shared = case.shared / PAGE_TOKENS;
    let own = case.tokens().div_ceil(PAGE_TOKENS) - shared;
    let count = shared + own * case.sequences;
    let mut ids: Vec<i32> = (0..count as i32).collect();
    ids.sort_by_key(|&id| noise(id as u64 + (1 << 40)).to_bits());
    let (prefix, rest) = ids.split_at(shared);
    let tables = rest.chunks(own).map(|own| [prefix, own].concat()).collect();
    (tables, count)
}
