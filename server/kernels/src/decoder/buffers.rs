//! The memory of a step, kept from one to the next.
#![expect(unsafe_code, reason = "threads write disjoint parts of one matrix")]

use std::ops::Range;
use std::sync::Mutex;

use super::model::{Layer, Model, Projection};
use super::rows::Rows;
use crate::matmul::{ActivationFormat, Activations};
use crate::norm::Norm;
use crate::simd::Isa;

/// Rows of one step. T tokens, R sampled rows.
#[derive(Debug)]
pub(super) struct Buffers {
    /// [T, hidden] the residual stream.
    pub(super) hidden: Rows,
    /// [T, queries + keys + values]
    pub(super) qkv: Rows,
    /// [T, queries]
    pub(super) attended: Rows,
    /// [R, vocabulary]
    pub(super) logits: Rows,
    /// For each rope [T, cosines + sines].
    pub(super) angles: Vec<Rows>,
    pub(super) sampled_in: Inputs,
    /// For rows that all threads compute together.
    pub(super) shared: Work,
    /// For rows that a thread computes by itself: one each.
    pub(super) apart: Vec<Mutex<Work>>,
}

/// What M rows need only while they are computed together.
#[derive(Debug)]
pub(super) struct Work {
    /// [M, hidden] what is to be added to the residual stream once it is normalised.
    pub(super) added: Rows,
    /// [M, intermediate]
    pub(super) inner: Rows,
    pub(super) hidden_in: Inputs,
    pub(super) query_in: Inputs,
    pub(super) inner_in: Inputs,
}

/// The packed input of projections, once in every format that their weights want.
#[derive(Debug)]
pub(super) struct Inputs {
    width: usize,
    formats: Vec<Activations>,
}

impl Buffers {
    pub(super) fn new(model: &Model, num_threads: usize) -> Self {
        let spec = &model.spec;
        let head = model.head.formats().collect();
        Self {
            hidden: Rows::new(spec.hidden_size),
            qkv: Rows::new(spec.query_size() + 2 * spec.kv_size()),
            attended: Rows::new(spec.query_size()),
            logits: Rows::new(spec.vocab_size),
            angles: spec
                .ropes
                .iter()
                .map(|rope| Rows::new(2 * rope.frequencies.len()))
                .collect(),
            sampled_in: Inputs::new(model.isa, spec.hidden_size, head),
            shared: Work::new(model),
            apart: (0..num_threads)
                .map(|_| Mutex::new(Work::new(model)))
                .collect(),
        }
    }

    /// Makes room for a step of `tokens` tokens, of which `together` are computed by all threads
    /// together, and for `sampled` rows of logits.
    pub(super) fn resize(&mut self, tokens: usize, together: usize, sampled: usize) {
        let rows = [&mut self.hidden, &mut self.qkv, &mut self.attended];
        for rows in rows.into_iter().chain(&mut self.angles) {
            rows.resize(tokens);
        }
        self.logits.resize(sampled);
        self.sampled_in.resize(sampled);
        self.shared.resize(together);
    }
}

impl Work {
    fn new(model: &Model) -> Self {
        let spec = &model.spec;
        let inputs = |width, pick: fn(&Layer) -> [&Projection; 2]| {
            let projections = model.layers.iter().flat_map(pick);
            let formats = projections
                .flat_map(|projection| projection.formats())
                .collect();
            Inputs::new(model.isa, width, formats)
        };
        Self {
            added: Rows::new(spec.hidden_size),
            inner: Rows::new(spec.intermediate_size),
            hidden_in: inputs(spec.hidden_size, |layer| [&layer.qkv, &layer.gate_up]),
            query_in: inputs(spec.query_size(), |layer| [&layer.output; 2]),
            inner_in: inputs(spec.intermediate_size, |layer| [&layer.down; 2]),
        }
    }

    /// Makes room for `rows` rows.
    pub(super) fn resize(&mut self, rows: usize) {
        self.added.resize(rows);
        self.inner.resize(rows);
        for inputs in [&mut self.hidden_in, &mut self.query_in, &mut self.inner_in] {
            inputs.resize(rows);
        }
    }
}

impl Inputs {
    fn new(isa: Isa, width: usize, mut formats: Vec<ActivationFormat>) -> Self {
        formats.sort_unstable();
        formats.dedup();
        let formats = formats
            .into_iter()
            .map(|format| Activations::new(isa, format))
            .collect();
        Self { width, formats }
    }

    fn resize(&mut self, rows: usize) {
        for activations in &mut self.formats {
            activations.resize(rows, self.width);
        }
    }

    /// Packs rows, normalised if there is a norm.
    ///
    /// # Safety
    /// While it runs nobody else packs or reads these rows.
    pub(super) unsafe fn quantize<'x>(
        &self,
        rows: Range<usize>,
        norm: Option<Norm<'_>>,
        values: impl Fn(usize) -> &'x [f32],
    ) {
        for activations in &self.formats {
            // SAFETY: the caller's promise.
            unsafe { activations.quantize(rows.clone(), norm, &values) };
        }
    }

    /// The rows in a format that was asked for in `new`.
    pub(super) fn of(&self, format: ActivationFormat) -> &Activations {
        self.formats
            .iter()
            .find(|activations| activations.format() == format)
            .expect("every format of the projections is there")
    }
}
