//! The memory of a step, kept from one to the next.
#![expect(unsafe_code, reason = "threads write disjoint parts of one matrix")]

use super::model::Model;
use super::rows::Rows;
use crate::matmul::{ActivationFormat, Activations};
use crate::simd::Isa;

/// Rows of one step. T tokens, R sampled rows.
#[derive(Debug)]
pub(super) struct Buffers {
    /// [T, hidden] the residual stream.
    pub(super) hidden: Rows,
    /// [max(T, R), hidden] normalised hidden states, or what is to be added to them.
    pub(super) normed: Rows,
    /// [T, queries + keys + values]
    pub(super) qkv: Rows,
    /// [T, queries]
    pub(super) attended: Rows,
    /// [T, intermediate]
    pub(super) inner: Rows,
    /// [R, vocabulary]
    pub(super) logits: Rows,
    /// For each rope [T, cosines + sines].
    pub(super) angles: Vec<Rows>,
    pub(super) hidden_in: Inputs,
    pub(super) query_in: Inputs,
    pub(super) inner_in: Inputs,
    pub(super) sampled_in: Inputs,
}

/// The packed input of projections, once in every format that their weights want.
#[derive(Debug)]
pub(super) struct Inputs {
    width: usize,
    formats: Vec<Activations>,
}

impl Buffers {
    pub(super) fn new(model: &Model) -> Self {
        let spec = &model.spec;
        let inputs = |width, formats: Vec<_>| Inputs::new(model.isa, width, formats);
        let of_layers = |pick: fn(&super::model::Layer) -> [&super::model::Projection; 2]| {
            let projections = model.layers.iter().flat_map(pick);
            projections
                .flat_map(|projection| projection.formats())
                .collect()
        };
        Self {
            hidden: Rows::new(spec.hidden_size),
            normed: Rows::new(spec.hidden_size),
            qkv: Rows::new(spec.query_size() + 2 * spec.kv_size()),
            attended: Rows::new(spec.query_size()),
            inner: Rows::new(spec.intermediate_size),
            logits: Rows::new(spec.vocab_size),
            angles: spec
                .ropes
                .iter()
                .map(|rope| Rows::new(2 * rope.frequencies.len()))
                .collect(),
            hidden_in: inputs(
                spec.hidden_size,
                of_layers(|layer| [&layer.qkv, &layer.gate_up]),
            ),
            query_in: inputs(spec.query_size(), of_layers(|layer| [&layer.output; 2])),
            inner_in: inputs(spec.intermediate_size, of_layers(|layer| [&layer.down; 2])),
            sampled_in: inputs(spec.hidden_size, model.head.formats().collect()),
        }
    }

    /// Makes room for a step of `tokens` tokens and `sampled` rows of logits.
    pub(super) fn resize(&mut self, tokens: usize, sampled: usize) {
        let rows = [
            &mut self.hidden,
            &mut self.qkv,
            &mut self.attended,
            &mut self.inner,
        ];
        for rows in rows.into_iter().chain(&mut self.angles) {
            rows.resize(tokens);
        }
        self.normed.resize(tokens.max(sampled));
        self.logits.resize(sampled);
        for inputs in [&mut self.hidden_in, &mut self.query_in, &mut self.inner_in] {
            inputs.resize(tokens);
        }
        self.sampled_in.resize(sampled);
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

    /// Packs a row.
    ///
    /// # Safety
    /// While it runs nobody else packs or reads this row.
    pub(super) unsafe fn quantize(&self, row: usize, values: &[f32]) {
        for activations in &self.formats {
            // SAFETY: the caller's promise.
            unsafe { activations.quantize(row..row + 1, |_| values) };
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
