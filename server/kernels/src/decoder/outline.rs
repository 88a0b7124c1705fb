//! What a decoder will be, from the types of its weights alone.

use std::collections::{BTreeSet, HashMap};

use super::{LoadError, Spec, WeightChoice, check, model};
use crate::attention::{KvKind, KvLayout};
use crate::matmul::{Arrangement, SourceKind, WeightKind, packed_bytes};

/// Encodings of a model's tensors by Hugging Face's names.
pub type Kinds = HashMap<String, SourceKind>;

/// What [`Decoder::load`](super::Decoder::load) will make of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// The inside of a page.
    pub layout: KvLayout,
    /// As [`Decoder::weights`](super::Decoder::weights).
    pub weights: String,
    /// As [`Decoder::weight_bytes`](super::Decoder::weight_bytes).
    pub weight_bytes: usize,
}

impl Outline {
    /// The decoder of a model whose tensors have the shapes that `spec` says.
    ///
    /// # Errors
    /// As loading, but for what the tensors hold.
    pub fn new(
        spec: &Spec,
        kinds: &Kinds,
        weights: WeightChoice,
        kv: KvKind,
    ) -> Result<Self, LoadError> {
        let layout = check(spec, kv)?;
        let mut outliner = Outliner {
            kinds,
            weights,
            bytes: 0,
        };
        let mut layers = BTreeSet::new();
        for index in 0..spec.num_layers {
            outliner.layer(spec, index, &mut layers)?;
        }
        let (embedding, head) = ("model.embed_tokens", "lm_head");
        let outer = match spec.tied_embeddings {
            true => &[embedding][..],
            false => &[embedding, head],
        };
        let mut head = BTreeSet::new();
        for name in outer {
            let kind = weights.outer(outliner.kind(name)?);
            // The last one is the head.
            head = BTreeSet::from([kind]);
            outliner.add(
                kind,
                Arrangement::Stacked,
                spec.vocab_size,
                spec.hidden_size,
            );
        }
        Ok(Self {
            layout,
            weights: model::kinds_text(&layers, &head),
            weight_bytes: outliner.bytes,
        })
    }
}

struct Outliner<'a> {
    kinds: &'a Kinds,
    weights: WeightChoice,
    bytes: usize,
}

impl Outliner<'_> {
    fn layer(
        &mut self,
        spec: &Spec,
        index: usize,
        kinds: &mut BTreeSet<WeightKind>,
    ) -> Result<(), LoadError> {
        let name = |rest: &str| format!("model.layers.{index}.{rest}_proj");
        let (hidden, inner) = (spec.hidden_size, spec.intermediate_size);
        let (queries, shared) = (spec.query_size(), spec.kv_size());
        let qkv = [
            (name("self_attn.q"), queries),
            (name("self_attn.k"), shared),
            (name("self_attn.v"), shared),
        ];
        self.stacked(&qkv, hidden, kinds)?;
        self.stacked(&[(name("self_attn.o"), hidden)], queries, kinds)?;
        self.stacked(&[(name("mlp.down"), hidden)], inner, kinds)?;
        let gate_up = [self.kind(&name("mlp.gate"))?, self.kind(&name("mlp.up"))?];
        let kind = self.weights.gate_up(gate_up);
        self.add(kind, Arrangement::GateUp, 2 * inner, hidden);
        kinds.insert(kind);
        Ok(())
    }

    /// As the loader stacks them: neighbours of one kind are one matrix.
    fn stacked(
        &mut self,
        wanted: &[(String, usize)],
        cols: usize,
        kinds: &mut BTreeSet<WeightKind>,
    ) -> Result<(), LoadError> {
        let parts = wanted
            .iter()
            .map(|(name, rows)| Ok((self.weights.inner(self.kind(name)?), *rows)))
            .collect::<Result<Vec<_>, LoadError>>()?;
        for group in parts.chunk_by(|a, b| a.0 == b.0) {
            let rows = group.iter().map(|(_, rows)| rows).sum();
            self.add(group[0].0, Arrangement::Stacked, rows, cols);
            kinds.insert(group[0].0);
        }
        Ok(())
    }

    fn kind(&self, name: &str) -> Result<SourceKind, LoadError> {
        let name = format!("{name}.weight");
        let kind = self.kinds.get(&name).copied();
        kind.ok_or(LoadError::Missing(name))
    }

    fn add(&mut self, kind: WeightKind, arrangement: Arrangement, rows: usize, cols: usize) {
        self.bytes += packed_bytes(kind, arrangement, rows, cols);
    }
}
