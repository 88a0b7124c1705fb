//! A decoder's weights, packed in the order in which a step reads them.
#![expect(unsafe_code, reason = "threads write disjoint parts of one output")]

use std::collections::BTreeSet;

use super::buffers::Inputs;
use super::spec::{self, Spec};
use crate::matmul::{Activation, ActivationFormat, Matrix, Output, WeightKind, multiply};
use crate::simd::Isa;
use crate::threads::Member;

/// The weights and all that a step needs to know of them.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) spec: Spec,
    pub(super) isa: Isa,
    /// The windows that layers have, each once.
    pub(super) windows: Vec<Option<usize>>,
    /// `None`: the head's.
    pub(super) embedding: Option<Matrix>,
    pub(super) layers: Vec<Layer>,
    pub(super) norm: Vec<f32>,
    pub(super) head: Projection,
}

/// One layer's weights.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) pre_attention: Option<Vec<f32>>,
    pub(super) post_attention: Option<Vec<f32>>,
    pub(super) pre_mlp: Option<Vec<f32>>,
    pub(super) post_mlp: Option<Vec<f32>>,
    pub(super) q_norm: Option<Vec<f32>>,
    pub(super) k_norm: Option<Vec<f32>>,
    pub(super) qkv: Projection,
    pub(super) output: Projection,
    pub(super) gate_up: Projection,
    pub(super) down: Projection,
    /// Index into the model's ropes.
    pub(super) rope: Option<usize>,
    /// Index into the model's windows.
    pub(super) window: usize,
}

/// A matrix product, in parts where weights are of several kinds.
#[derive(Debug)]
pub(super) struct Projection {
    pub(super) parts: Vec<Part>,
}

/// Some outputs of a projection.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) matrix: Matrix,
    pub(super) first_output: usize,
}

impl Part {
    /// This thread's outputs of the product with `from`.
    ///
    /// # Safety
    /// As for [`multiply`]: the input is complete, and each thread writes to `output` alone.
    pub(super) unsafe fn multiply(
        &self,
        isa: Isa,
        member: &Member<'_>,
        from: &Inputs,
        output: &Output<'_>,
    ) {
        let matrix = &self.matrix;
        let panels = matrix.thread_panels(member.index(), member.count());
        let input = from.of(matrix.kind().activations());
        // SAFETY: the caller's promise.
        unsafe { multiply(isa, matrix, input, panels, output) }
    }
}

impl Projection {
    /// The formats its input is wanted in.
    pub(super) fn formats(&self) -> impl Iterator<Item = ActivationFormat> {
        self.parts
            .iter()
            .map(|part| part.matrix.kind().activations())
    }

    fn kinds(&self) -> impl Iterator<Item = WeightKind> {
        self.parts.iter().map(|part| part.matrix.kind())
    }
}

impl Model {
    /// Where tokens look up their vectors.
    pub(super) fn embedding(&self) -> &Matrix {
        self.embedding
            .as_ref()
            .unwrap_or(&self.head.parts[0].matrix)
    }

    /// The gate's activation, as products know it.
    pub(super) fn activation(&self) -> Activation {
        match self.spec.activation {
            spec::Activation::Silu => Activation::Silu,
            spec::Activation::Gelu => Activation::Gelu,
            spec::Activation::GeluTanh => Activation::GeluTanh,
        }
    }

    /// Kinds of the layers' weights, and of the head's.
    pub(super) fn kinds(&self) -> (BTreeSet<WeightKind>, BTreeSet<WeightKind>) {
        let projections = self
            .layers
            .iter()
            .flat_map(|layer| [&layer.qkv, &layer.output, &layer.gate_up, &layer.down]);
        let layers = projections.flat_map(Projection::kinds).collect();
        (layers, self.head.kinds().collect())
    }

    /// Bytes of packed weights.
    pub(super) fn bytes(&self) -> usize {
        let projections = self
            .layers
            .iter()
            .flat_map(|layer| [&layer.qkv, &layer.output, &layer.gate_up, &layer.down])
            .chain([&self.head]);
        let parts = projections.flat_map(|projection| &projection.parts);
        parts.map(|part| part.matrix.bytes()).sum::<usize>()
            + self.embedding.as_ref().map_or(0, Matrix::bytes)
    }
}

/// Kinds of the layers' weights and of the head's, for people to read.
pub(super) fn kinds_text(layers: &BTreeSet<WeightKind>, head: &BTreeSet<WeightKind>) -> String {
    let text = |kinds: &BTreeSet<WeightKind>| {
        let names: Vec<_> = kinds.iter().map(ToString::to_string).collect();
        names.join(" and ")
    };
    match head == layers {
        true => text(layers),
        false => format!("{} + {} head", text(layers), text(head)),
    }
}

impl Projection {
    /// All outputs in one matrix.
    pub(super) fn whole(matrix: Matrix) -> Self {
        Self {
            parts: vec![Part {
                matrix,
                first_output: 0,
            }],
        }
    }
}
