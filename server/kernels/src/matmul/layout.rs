//! How weights and activations lie in memory.

use std::fmt;

use super::source::SourceKind;

/// Outputs of a panel.
pub(super) const PANEL: usize = 32;
/// Inputs of a tile, and of a group that shares a scale.
pub(super) const CHUNK: usize = 32;
/// Values of a row that lie together where a row has one scale: what a matrix tile reads at once.
pub(super) const SPAN: usize = 2 * CHUNK;

/// What packed weights are made of.
///
/// Integer weights are stored unsigned, as the 8-bit dot products want them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WeightKind {
    /// bfloat16.
    Bf16,
    /// 8 bits, one scale an output, behind a block Hadamard rotation along K.
    Int8,
    /// 8 bits and a half-precision scale for 32 inputs: Q8_0 without loss.
    Int8Group,
    /// 4 bits, half-precision scale and minimum for 32 inputs: Q4_0 and Q4_1 without loss.
    Int4Group,
    /// 4 bits, single-precision scale and minimum for 32 inputs: Q4_K, AWQ, GPTQ without loss.
    Int4Wide,
}

/// What the activations of a product are packed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ActivationFormat {
    /// bfloat16.
    Bf16,
    /// Signed 8 bits, one scale a row, behind the rotation of [`WeightKind::Int8`].
    Int8,
    /// Signed 8 bits, a scale for 32 inputs.
    Int8Group,
}

impl WeightKind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Bf16,
        Self::Int8,
        Self::Int8Group,
        Self::Int4Group,
        Self::Int4Wide,
    ];

    /// What weights of a source become unless told otherwise: nothing is lost where the source has
    /// at most 4 bits or 8; 5 and 6 bits become rotated 8 bits; floats become bfloat16.
    #[must_use]
    pub fn natural(source: SourceKind) -> Self {
        match source {
            SourceKind::F32 | SourceKind::F16 | SourceKind::Bf16 => Self::Bf16,
            SourceKind::Q8_0 => Self::Int8Group,
            SourceKind::Q4_0 | SourceKind::Q4_1 => Self::Int4Group,
            SourceKind::Q4K | SourceKind::Int4 { .. } => Self::Int4Wide,
            SourceKind::Int8 | SourceKind::Q5_0 | SourceKind::Q5K | SourceKind::Q6K => Self::Int8,
        }
    }

    /// The activations that it is multiplied with.
    #[must_use]
    pub fn activations(self) -> ActivationFormat {
        match self {
            Self::Bf16 => ActivationFormat::Bf16,
            Self::Int8 => ActivationFormat::Int8,
            Self::Int8Group | Self::Int4Group | Self::Int4Wide => ActivationFormat::Int8Group,
        }
    }

    /// Bytes of a tile: 32 inputs of 32 outputs.
    pub(super) const fn tile_bytes(self) -> usize {
        match self {
            Self::Bf16 => 2 * CHUNK * PANEL,
            Self::Int8 => CHUNK * PANEL,
            Self::Int8Group => CHUNK * PANEL + 2 * PANEL,
            Self::Int4Group => CHUNK * PANEL / 2 + 4 * PANEL,
            Self::Int4Wide => CHUNK * PANEL / 2 + 8 * PANEL,
        }
    }

    /// Bytes of a panel: its tiles, then what belongs to whole outputs.
    pub(super) const fn panel_bytes(self, cols: usize) -> usize {
        let tail = match self {
            Self::Int8 => 4 * PANEL,
            _ => 0,
        };
        cols.div_ceil(CHUNK) * self.tile_bytes() + tail
    }
}

impl fmt::Display for WeightKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
            Self::Int8Group => "int8 g32",
            Self::Int4Group => "int4 g32",
            Self::Int4Wide => "int4 g32 wide",
        })
    }
}

impl ActivationFormat {
    /// Inputs of a row that lie together.
    pub(super) const fn span(self) -> usize {
        match self {
            Self::Bf16 | Self::Int8Group => CHUNK,
            Self::Int8 => SPAN,
        }
    }

    /// Bytes of a row for one span: the values, then for groups scale and offset.
    pub(super) const fn span_bytes(self) -> usize {
        match self {
            Self::Bf16 => 2 * CHUNK,
            Self::Int8 => SPAN,
            Self::Int8Group => CHUNK + 8,
        }
    }

    /// Bytes of a row: its spans, then for a scale a row scale and offset.
    pub(super) const fn row_bytes(self, cols: usize) -> usize {
        let tail = match self {
            Self::Int8 => 8,
            _ => 0,
        };
        cols.div_ceil(self.span()) * self.span_bytes() + tail
    }
}

/// The rows of a product in blocks of nearly equal size, the larger ones first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Blocks {
    rows: usize,
    count: usize,
}

impl Blocks {
    /// As few blocks as there can be of at most `limit` rows.
    pub(super) fn new(rows: usize, limit: usize) -> Self {
        Self {
            rows,
            count: rows.div_ceil(limit),
        }
    }

    pub(super) fn count(self) -> usize {
        self.count
    }

    /// First row and number of rows of a block.
    #[inline(always)]
    pub(super) fn get(self, block: usize) -> (usize, usize) {
        let (size, larger) = (self.rows / self.count, self.rows % self.count);
        (
            block * size + block.min(larger),
            size + usize::from(block < larger),
        )
    }

    /// The block of a row.
    pub(super) fn of_row(self, row: usize) -> usize {
        let (size, larger) = (self.rows / self.count, self.rows % self.count);
        let border = larger * (size + 1);
        if row < border {
            row / (size + 1)
        } else {
            larger + (row - border) / size
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_all_rows_in_order() {
        for rows in 1..200 {
            for limit in 1..15 {
                let blocks = Blocks::new(rows, limit);
                let mut next = 0;
                for block in 0..blocks.count() {
                    let (first, count) = blocks.get(block);
                    assert!(first == next && (1..=limit).contains(&count));
                    assert!((first..first + count).all(|row| blocks.of_row(row) == block));
                    next += count;
                }
                assert_eq!(next, rows);
            }
        }
    }
}
