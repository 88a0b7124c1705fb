//! `quantize`: rows of floats in the encodings that the decoder takes as they are.

use kernels::matmul::{self, Source};
use kernels::simd::Isa;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::buffer::Items;
use crate::decoder::source_kind;
use crate::unsigned::Unsigned;

/// See `_native.pyi`.
#[pyfunction]
pub(crate) fn quantize<'py>(
    py: Python<'py>,
    kind: &str,
    shape: (Unsigned<usize>, Unsigned<usize>),
    data: &Bound<'py, PyAny>,
    to: &str,
) -> PyResult<Bound<'py, PyBytes>> {
    let data: Items<u8> = Items::new("data", data)?;
    let (kind, to, bytes) = (source_kind(kind)?, source_kind(to)?, data.as_slice());
    let (rows, cols) = (shape.0.0, shape.1.0);
    let source = Source::new(kind, rows, cols, bytes)
        .map_err(|error| PyValueError::new_err(error.to_string()))?;
    let quantized = py.detach(|| matmul::quantize(Isa::detect(), &source, to));
    let quantized = quantized.map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(PyBytes::new(py, &quantized))
}
