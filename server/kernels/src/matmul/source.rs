//! Weights as model files hold them.

mod ggml;
#[cfg(test)]
mod tests;

use half::bf16;

use super::layout::CHUNK;
use crate::hadamard;
use crate::simd::Isa;

/// The encoding of a source. Those named Q are the blocks of GGUF files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceKind {
    /// Single precision.
    F32,
    /// Half precision.
    F16,
    /// bfloat16.
    Bf16,
    /// 32 values: d f16, then 32 signed bytes.
    Q8_0,
    /// 32 values: d f16, then nibbles; value i in the low and i + 16 in the high half of byte i.
    Q4_0,
    /// The same with a minimum: d, m f16, nibbles.
    Q4_1,
    /// 256 values in 8 groups with 6-bit scales and minima.
    Q4K,
    /// 32 values: d f16, fifth bits u32, nibbles.
    Q5_0,
    /// 256 values as in `Q4K` with fifth bits.
    Q5K,
    /// 256 values in 16 groups with 8-bit scales.
    Q6K,
    /// A whole row: signed bytes behind the rotation of `WeightKind::Int8`, then their scale f32.
    /// What [`quantize`](super::quantize) makes of floats.
    Int8,
    /// Nibbles along K, the first in the low half; for each `group` values scale f16 and zero u8
    /// apart: AWQ and GPTQ, once put in order.
    Int4 {
        /// Values that share a scale: a multiple of 32.
        group: usize,
    },
}

/// A matrix [rows, cols] as a file holds it, row by row; nothing is assumed about alignment.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    kind: SourceKind,
    rows: usize,
    cols: usize,
    data: &'a [u8],
    scales: &'a [u8],
    zeros: &'a [u8],
}

/// What is wrong with a source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Rows do not consist of whole blocks.
    #[error("{cols} columns do not divide into blocks of {block}")]
    Columns {
        /// Columns given.
        cols: usize,
        /// Values of a block.
        block: usize,
    },
    /// A group that no kernel has.
    #[error("groups of {0} weights: expected a multiple of 32")]
    Group(usize),
    /// Too few or too many bytes.
    #[error("{found} bytes of {what}, expected {expected} for {rows} x {cols}")]
    Length {
        /// Data, scales or zeros.
        what: &'static str,
        /// Bytes given.
        found: usize,
        /// Bytes of that many weights.
        expected: usize,
        /// Rows given.
        rows: usize,
        /// Columns given.
        cols: usize,
    },
    /// More weights than can be addressed.
    #[error("{rows} x {cols} weights are more than memory has")]
    Size {
        /// Rows given.
        rows: usize,
        /// Columns given.
        cols: usize,
    },
}

/// 32 weights of 4 bits: scale * code + minimum.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Group4 {
    pub(super) codes: [u8; CHUNK],
    pub(super) scale: f32,
    pub(super) minimum: f32,
}

/// 32 weights of 8 bits: scale * code.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Group8 {
    pub(super) codes: [i8; CHUNK],
    pub(super) scale: f32,
}

impl SourceKind {
    /// Values and bytes of a block, what belongs to whole rows apart.
    const fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::Bf16 => (1, 2),
            Self::Int8 => (1, 1),
            Self::Q8_0 => (32, 34),
            Self::Q4_0 => (32, 18),
            Self::Q4_1 => (32, 20),
            Self::Q5_0 => (32, 22),
            Self::Q4K => (256, 144),
            Self::Q5K => (256, 176),
            Self::Q6K => (256, 210),
            Self::Int4 { group } => (group, group / 2),
        }
    }

    /// Bytes of a row of whole blocks.
    pub(super) const fn row_bytes(self, cols: usize) -> usize {
        let (block, bytes) = self.block();
        let tail = match self {
            Self::Int8 => 4,
            _ => 0,
        };
        cols / block * bytes + tail
    }
}

impl<'a> Source<'a> {
    /// A matrix whose scales, if any, are in its blocks.
    ///
    /// # Errors
    /// When the length of `data` is not that of the matrix; for `Int4`, which has its own
    /// constructor.
    pub fn new(
        kind: SourceKind,
        rows: usize,
        cols: usize,
        data: &'a [u8],
    ) -> Result<Self, SourceError> {
        let source = Self {
            kind,
            rows,
            cols,
            data,
            scales: &[],
            zeros: &[],
        };
        source.check()?;
        Ok(source)
    }

    /// A matrix of 4-bit codes [rows, cols / 2], the lower half of a byte first, with a scale f16
    /// and a zero u8 for `group` values, both [rows, cols / group]: w = scale * (code - zero).
    ///
    /// # Errors
    /// When a length is not that of the matrix, or for a group that is no multiple of 32.
    pub fn int4(
        (rows, cols): (usize, usize),
        group: usize,
        data: &'a [u8],
        scales: &'a [u8],
        zeros: &'a [u8],
    ) -> Result<Self, SourceError> {
        let source = Self {
            kind: SourceKind::Int4 { group },
            rows,
            cols,
            data,
            scales,
            zeros,
        };
        source.check()?;
        Ok(source)
    }

    fn check(&self) -> Result<(), SourceError> {
        let (rows, cols) = (self.rows, self.cols);
        let (block, _) = self.kind.block();
        if block == 0 || matches!(self.kind, SourceKind::Int4 { .. }) && block % CHUNK != 0 {
            return Err(SourceError::Group(block));
        }
        if cols % block != 0 {
            return Err(SourceError::Columns { cols, block });
        }
        let length = |what, found: usize, row_bytes: usize| match rows
            .checked_mul(row_bytes)
            .ok_or(SourceError::Size { rows, cols })?
        {
            expected if expected == found => Ok(()),
            expected => Err(SourceError::Length {
                what,
                found,
                expected,
                rows,
                cols,
            }),
        };
        let groups = match self.kind {
            SourceKind::Int4 { group } => cols / group,
            _ => 0,
        };
        length("weights", self.data.len(), self.kind.row_bytes(cols))?;
        length("scales", self.scales.len(), 2 * groups)?;
        length("zeros", self.zeros.len(), groups)
    }

    /// The encoding.
    #[must_use]
    pub fn kind(&self) -> SourceKind {
        self.kind
    }

    /// Outputs.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// One row as floats.
    ///
    /// # Panics
    /// When the row is out of range or `out` has another length.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        assert!(out.len() == self.cols, "{} columns", self.cols);
        if let Some(groups) = self.groups4(row) {
            let parts = out.chunks_exact_mut(CHUNK);
            return groups.zip(parts).for_each(|(group, out)| group.write(out));
        }
        if let Some(groups) = self.groups8(row) {
            let parts = out.chunks_exact_mut(CHUNK);
            return groups.zip(parts).for_each(|(group, out)| group.write(out));
        }
        if let Some((codes, scale)) = self.codes8(row) {
            for (out, &code) in out.iter_mut().zip(codes) {
                *out = scale * f32::from(code.cast_signed());
            }
            return hadamard::rotate(Isa::detect(), out);
        }
        let read: fn(&[u8], &mut [f32]) = match self.kind {
            SourceKind::F32 => |x, out| out[0] = f32::from_le_bytes([x[0], x[1], x[2], x[3]]),
            SourceKind::F16 => |x, out| out[0] = ggml::half(x),
            SourceKind::Bf16 => |x, out| out[0] = bf16::from_le_bytes([x[0], x[1]]).to_f32(),
            SourceKind::Q5_0 => ggml::q5_0,
            SourceKind::Q5K => ggml::q5_k,
            _ => ggml::q6_k,
        };
        let (block, bytes) = self.kind.block();
        let blocks = self.row_bytes(row).chunks_exact(bytes);
        for (x, out) in blocks.zip(out.chunks_exact_mut(block)) {
            read(x, out);
        }
    }

    /// One row in groups of 4-bit codes, if it has such.
    pub(super) fn groups4(&self, row: usize) -> Option<impl Iterator<Item = Group4>> {
        let group = match self.kind {
            SourceKind::Q4_0 | SourceKind::Q4_1 | SourceKind::Q4K | SourceKind::Int4 { .. } => {
                move |index| self.group4(row, index)
            }
            _ => return None,
        };
        Some((0..self.cols / CHUNK).map(group))
    }

    fn group4(&self, row: usize, index: usize) -> Group4 {
        let (block, bytes) = self.kind.block();
        let number = index * CHUNK / block;
        let data = &self.row_bytes(row)[number * bytes..][..bytes];
        let within = index % (block / CHUNK);
        match self.kind {
            SourceKind::Q4_0 => ggml::q4_0(data),
            SourceKind::Q4_1 => ggml::q4_1(data),
            SourceKind::Q4K => ggml::q4_k(data, within),
            _ => {
                let at = row * (self.cols / block) + number;
                let scale = ggml::half(&self.scales[2 * at..]);
                let bytes = &data[within * CHUNK / 2..][..CHUNK / 2];
                Group4 {
                    codes: std::array::from_fn(|i| bytes[i / 2] >> (4 * (i % 2)) & 15),
                    scale,
                    minimum: -scale * f32::from(self.zeros[at]),
                }
            }
        }
    }

    /// One row in groups of 8-bit codes, if it has such.
    pub(super) fn groups8(&self, row: usize) -> Option<impl Iterator<Item = Group8>> {
        (self.kind == SourceKind::Q8_0)
            .then(|| self.row_bytes(row).chunks_exact(34).map(ggml::q8_0))
    }

    /// One row as rotated 8-bit codes, signed, and their scale, if it has such.
    pub(super) fn codes8(&self, row: usize) -> Option<(&'a [u8], f32)> {
        if self.kind != SourceKind::Int8 {
            return None;
        }
        let (codes, scale) = self.row_bytes(row).split_last_chunk()?;
        Some((codes, f32::from_le_bytes(*scale)))
    }

    fn row_bytes(&self, row: usize) -> &'a [u8] {
        let length = self.kind.row_bytes(self.cols);
        &self.data[row * length..(row + 1) * length]
    }
}

impl Group4 {
    fn write(&self, out: &mut [f32]) {
        for (out, &code) in out.iter_mut().zip(&self.codes) {
            *out = self.scale.mul_add(f32::from(code), self.minimum);
        }
    }
}

impl Group8 {
    fn write(&self, out: &mut [f32]) {
        for (out, &code) in out.iter_mut().zip(&self.codes) {
            *out = self.scale * f32::from(code);
        }
    }
}
