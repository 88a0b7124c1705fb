//! Attention against its definition, and bit for bit against itself.

mod exact;
mod plan;
mod pool;
mod reference;
mod rules;
mod sharing;

use super::*;
use crate::simd::Isa;
use pool::{Pool, Stream, Table};

/// A model's attention.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Setting {
    isa: Isa,
    kind: KvKind,
    kv_heads: usize,
    group: usize,
    head_dim: usize,
    window: Option<usize>,
    softcap: Option<f32>,
}

impl Setting {
    fn new(kind: KvKind, kv_heads: usize, group: usize, head_dim: usize) -> Self {
        Self {
            isa: Isa::detect(),
            kind,
            kv_heads,
            group,
            head_dim,
            window: None,
            softcap: None,
        }
    }

    fn heads(&self) -> usize {
        self.kv_heads * self.group
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }
}

/// New tokens of one sequence in a step.
#[derive(Debug, Clone)]
struct Chunk<'a> {
    stream: &'a Stream,
    table: &'a Table,
    context: usize,
    len: usize,
}

/// How a step's work is done; changes no result.
#[derive(Debug, Clone, Copy)]
struct Way {
    threads: usize,
    sharing: bool,
    /// Where the second of two threads begins to write keys and values.
    write_border: usize,
}

const ALONE: Way = Way {
    threads: 1,
    sharing: false,
    write_border: 0,
};

const LAYERS: usize = 2;
const LAYER: usize = 1;

/// Runs one step; gives the output of each chunk, `[len, heads * head_dim]`.
fn step(setting: &Setting, pool: &mut Pool, chunks: &[Chunk<'_>], way: Way) -> Vec<Vec<f32>> {
    let pages = pool.pages();
    let mut first_row = 0;
    let sequences: Vec<SequenceRows<'_>> = chunks
        .iter()
        .map(|chunk| {
            let sequence = SequenceRows {
                first_row,
                num_rows: chunk.len,
                context: chunk.context,
                pages: &chunk.table.ids,
            };
            first_row += chunk.len;
            sequence
        })
        .collect();
    let rows = |of: fn(&Stream) -> &[f32]| -> Vec<f32> {
        let cells = |chunk: &Chunk<'_>| {
            let cells = of(chunk.stream);
            let width = cells.len() / chunk.stream.len;
            cells[chunk.context * width..(chunk.context + chunk.len) * width].to_vec()
        };
        chunks.iter().flat_map(cells).collect()
    };
    let [q, k, v] = [rows(|s| &s.q), rows(|s| &s.k), rows(|s| &s.v)];
    let kv_width = setting.kv_heads * setting.head_dim;
    let border = way.write_border.min(first_row);
    for range in [border..first_row, 0..border] {
        let kv = [Rows::new(&k, kv_width), Rows::new(&v, kv_width)];
        unsafe { write_kv(setting.isa, (&pages, LAYER), &sequences, range, kv) };
    }
    let shape = PlanShape {
        sharing: way.sharing,
        ..shape(setting, pages.count(), way.threads)
    };
    let plan = AttentionPlan::new(&sequences, shape).expect("a valid step");
    let width = setting.heads() * setting.head_dim;
    let mut out = vec![f32::NAN; first_row * width];
    attend_all(setting, &pages, &plan, Rows::new(&q, width), &mut out);
    let mut rest = out.as_slice();
    let mut split = |chunk: &Chunk<'_>| rest.split_off(..chunk.len * width).expect("rows").to_vec();
    chunks.iter().map(&mut split).collect()
}

fn shape(setting: &Setting, num_pages: usize, num_threads: usize) -> PlanShape {
    PlanShape {
        num_heads: setting.heads(),
        num_kv_heads: setting.kv_heads,
        num_pages,
        window: setting.window,
        num_threads,
        sharing: false,
    }
}

fn layer<'a>(
    setting: &Setting,
    pages: &'a Pages,
    plan: &'a AttentionPlan,
    scratch: &'a Scratch,
) -> LayerAttention<'a> {
    LayerAttention {
        plan,
        pages,
        layer: LAYER,
        scale: setting.scale(),
        softcap: setting.softcap,
        scratch,
    }
}

fn attend_all(
    setting: &Setting,
    pages: &Pages,
    plan: &AttentionPlan,
    q: Rows<'_>,
    out: &mut [f32],
) {
    let width = setting.heads() * setting.head_dim;
    let mut scratch = Scratch::new(pages.layout(), plan.num_threads());
    scratch.prepare(plan);
    let layer = layer(setting, pages, plan, &scratch);
    let out = RowsMut::new(out, width);
    // In any order: the last thread first.
    for thread in (0..plan.num_threads()).rev() {
        unsafe { layer.attend(setting.isa, thread, q, out) };
    }
    for thread in 0..plan.num_threads() {
        if plan.needs_fold() {
            unsafe { layer.fold(setting.isa, thread, out) };
        }
    }
}

/// The sequence alone in chunks of `size`: outputs of all its positions.
fn alone(setting: &Setting, stream: &Stream, size: usize) -> Vec<f32> {
    let mut pool = Pool::new(setting, stream.len.div_ceil(PAGE_TOKENS));
    let table = Table::in_order(stream.len);
    let mut out = Vec::new();
    for context in (0..stream.len).step_by(size) {
        let chunk = Chunk {
            stream,
            table: &table,
            context,
            len: size.min(stream.len - context),
        };
        out.extend(step(setting, &mut pool, &[chunk], ALONE).remove(0));
    }
    out
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}
