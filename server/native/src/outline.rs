//! `DecoderOutline`: what a `Decoder` will be, before its weights are read.

use std::collections::HashMap;

use kernels::attention::PAGE_TOKENS;
use kernels::decoder::{Kinds, Outline, Spec};
use kernels::matmul::SourceKind;
use kernels::simd::Isa;
use pyo3::prelude::*;

use crate::decoder::{self, INT4};

/// Size and types of a decoder.
#[pyclass(module = "text_generation_server._native")]
pub(crate) struct DecoderOutline(Outline);

#[pymethods]
impl DecoderOutline {
    #[new]
    #[pyo3(signature = (spec, types, *, weights = None, kv_dtype = "bf16"))]
    fn new(
        spec: &str,
        types: HashMap<String, String>,
        weights: Option<&str>,
        kv_dtype: &str,
    ) -> PyResult<Self> {
        let spec: Spec = decoder::description(spec)?;
        let kinds: Kinds = types
            .into_iter()
            .map(|(name, kind)| Ok((name, kind_alone(&kind)?)))
            .collect::<PyResult<_>>()?;
        let (weights, kv) = (
            decoder::weight_choice(weights)?,
            decoder::kv_kind(kv_dtype)?,
        );
        let outline = Outline::new(&spec, &kinds, weights, kv);
        outline.map(Self).map_err(decoder::load_failed)
    }

    #[getter]
    fn page_tokens(&self) -> usize {
        PAGE_TOKENS
    }

    #[getter]
    fn page_bytes(&self) -> usize {
        self.0.layout.page_bytes()
    }

    #[getter]
    fn isa(&self) -> String {
        Isa::detect().to_string()
    }

    #[getter]
    fn weights(&self) -> &str {
        &self.0.weights
    }

    #[getter]
    fn weight_bytes(&self) -> usize {
        self.0.weight_bytes
    }
}

/// A type without its data: what int4 is packed to does not depend on its groups.
fn kind_alone(name: &str) -> PyResult<SourceKind> {
    match name {
        INT4 => Ok(SourceKind::Int4 { group: 32 }),
        name => decoder::source_kind(name),
    }
}
