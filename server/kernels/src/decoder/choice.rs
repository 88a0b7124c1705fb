//! What a model's weights are packed to.

use crate::matmul::{SourceKind, WeightKind};

/// What weights are packed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightChoice {
    /// What the source is: see [`WeightKind::natural`].
    Natural,
    /// bfloat16.
    Bf16,
    /// 8 bits.
    Int8,
    /// 4 bits, but 8 for embedding and head; sources of 4 bits as they are.
    Int4,
}

impl WeightChoice {
    /// The kind of the weights between embedding and head.
    pub(super) fn inner(self, source: SourceKind) -> WeightKind {
        let natural = WeightKind::natural(source);
        let is_int4 = matches!(natural, WeightKind::Int4Group | WeightKind::Int4Wide);
        match self {
            Self::Natural => natural,
            Self::Bf16 => WeightKind::Bf16,
            Self::Int4 if is_int4 => natural,
            Self::Int4 => WeightKind::Int4Group,
            Self::Int8 => eight_bits(natural),
        }
    }

    /// The kind of gate and up: an output of one is computed beside its factor of the other, so both
    /// must be of one kind.
    pub(super) fn gate_up(self, sources: [SourceKind; 2]) -> WeightKind {
        let [gate, up] = sources.map(|source| self.inner(source));
        if gate == up { gate } else { WeightKind::Int8 }
    }

    /// The kind of embedding and head, which 4 bits would spoil.
    pub(super) fn outer(self, source: SourceKind) -> WeightKind {
        let natural = WeightKind::natural(source);
        match self {
            Self::Natural => natural,
            Self::Bf16 => WeightKind::Bf16,
            Self::Int8 | Self::Int4 => eight_bits(natural),
        }
    }
}

/// 8 bits, those of the source if it has them.
fn eight_bits(natural: WeightKind) -> WeightKind {
    match natural {
        WeightKind::Int8Group => WeightKind::Int8Group,
        _ => WeightKind::Int8,
    }
}
