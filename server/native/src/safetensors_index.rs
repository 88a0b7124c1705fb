//! `safetensors_index`: what a safetensors file holds and where, checked by the format's own crate.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use safetensors::SafeTensors;
use safetensors::tensor::Metadata;

use crate::buffer::Items;

/// Bytes before the header: its length.
const LENGTH_BYTES: usize = size_of::<u64>();

/// Name, type, shape, first byte in the file and the one after the last.
type Entry<'py> = (String, String, Bound<'py, PyTuple>, usize, usize);

#[pyfunction]
pub(crate) fn safetensors_index<'py>(file: &Bound<'py, PyAny>) -> PyResult<Vec<Entry<'py>>> {
    let bytes = Items::<u8>::new("file", file)?;
    let (header_len, metadata) = SafeTensors::read_metadata(bytes.as_slice())
        .map_err(|error| PyValueError::new_err(error.to_string()))?;
    let data_start = LENGTH_BYTES + header_len;
    metadata
        .offset_keys()
        .into_iter()
        .map(|name| entry(file.py(), &metadata, name, data_start))
        .collect()
}

fn entry<'py>(
    py: Python<'py>,
    metadata: &Metadata,
    name: String,
    data_start: usize,
) -> PyResult<Entry<'py>> {
    let info = metadata.info(&name).expect("the name is the metadata's");
    let (start, end) = info.data_offsets;
    let shape = PyTuple::new(py, &info.shape)?;
    Ok((
        name,
        info.dtype.to_string(),
        shape,
        data_start + start,
        data_start + end,
    ))
}
