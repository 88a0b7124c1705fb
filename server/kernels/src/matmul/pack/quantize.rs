//! Quantized weights for files: what packing makes of floats, in encodings that it takes as they are.

use half::f16;

use super::super::layout::CHUNK;
use super::super::source::{Group4, Source, SourceKind};
use super::encode;
use crate::hadamard;
use crate::simd::Isa;

/// Why weights cannot be quantized.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantizeError {
    /// An encoding that is only read.
    #[error("{0:?} is not written, only Int8 and Q4_1")]
    Kind(SourceKind),
    /// Rows that are no whole blocks.
    #[error("{cols} columns are no multiple of {CHUNK}: quantize to 8 bits, which needs none")]
    Columns {
        /// Columns given.
        cols: usize,
    },
    /// A weight that is not finite, or not in the range of half precision.
    #[error("a weight is not finite")]
    NotFinite,
}

/// All rows of `source` as [`SourceKind::Int8`] or [`SourceKind::Q4_1`]. Packed to
/// [`WeightKind::Int8`](super::super::WeightKind::Int8) and `Int4Group` they give the same panels as
/// the source itself.
///
/// # Errors
/// See [`QuantizeError`].
pub fn quantize(isa: Isa, source: &Source<'_>, to: SourceKind) -> Result<Vec<u8>, QuantizeError> {
    let cols = source.cols();
    let quantize_row = match to {
        SourceKind::Int8 => int8,
        SourceKind::Q4_1 if cols.is_multiple_of(CHUNK) => q4_1,
        SourceKind::Q4_1 => return Err(QuantizeError::Columns { cols }),
        _ => return Err(QuantizeError::Kind(to)),
    };
    let mut values = vec![0.0; cols];
    let mut out = Vec::with_capacity(source.rows() * to.row_bytes(cols));
    for row in 0..source.rows() {
        source.row(row, &mut values);
        if !quantize_row(isa, &mut values, &mut out) {
            return Err(QuantizeError::NotFinite);
        }
    }
    Ok(out)
}

/// Appends a row and says whether all of it is finite; `values` are rotated.
fn int8(isa: Isa, values: &mut [f32], out: &mut Vec<u8>) -> bool {
    let mut codes = Vec::new();
    hadamard::rotate(isa, values);
    let scale = encode::int8(isa, values, &mut codes);
    // Behind the last value codes are padding.
    out.extend(
        codes[..values.len()]
            .iter()
            .map(|code| code.cast_unsigned()),
    );
    out.extend(scale.to_le_bytes());
    scale.is_finite()
}

/// Appends a row and says whether all of it is finite.
fn q4_1(isa: Isa, values: &mut [f32], out: &mut Vec<u8>) -> bool {
    let mut groups = Vec::new();
    encode::groups4(isa, values, &mut groups);
    groups
        .iter()
        .fold(true, |all, group| all & put_q4_1(group, out))
}

fn put_q4_1(group: &Group4, out: &mut Vec<u8>) -> bool {
    let parameters = [group.scale, group.minimum].map(f16::from_f32);
    out.extend(parameters.iter().flat_map(|value| value.to_le_bytes()));
    let (low, high) = group.codes.split_at(CHUNK / 2);
    out.extend(low.iter().zip(high).map(|(low, high)| low | high << 4));
    parameters.iter().all(|value| value.is_finite())
}
