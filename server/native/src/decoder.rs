//! `Decoder`: a model's packed weights, and the steps over them.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::Arc;

use kernels::attention::{KvKind, Pages};
use kernels::decoder::{self, LoadError, Options, Plan, Spec, StepError, Tensors, WeightChoice};
use kernels::matmul::{Source, SourceError, SourceKind};
use kernels::sampler::Draws;
use kernels::simd::Isa;
use pyo3::exceptions::{PyNotImplementedError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use crate::buffer::{Items, view};
use crate::page_pool::PagePool;
use crate::sampler::{self, Samples, SamplingParams};
use crate::unsigned::Unsigned;

/// Far above any machine's cores.
const MAX_THREADS: usize = 1024;

/// The type of tensors whose scales come apart.
pub(crate) const INT4: &str = "int4";

/// A decoder and the memory it computes in.
#[pyclass(module = "text_generation_server._native")]
pub(crate) struct Decoder {
    decoder: decoder::Decoder,
    /// Lives as long as the decoder writes to it.
    _pool: Option<Arc<kv::PagePool>>,
}

/// A tensor as Python hands it over: (type, shape, data, (group, scales, zeros) or None).
type Given<'py> = (
    String,
    Vec<usize>,
    Bound<'py, PyAny>,
    Option<(usize, Bound<'py, PyAny>, Bound<'py, PyAny>)>,
);

/// A tensor with its memory borrowed.
struct Tensor {
    name: String,
    kind: String,
    shape: (usize, usize),
    data: Items<u8>,
    groups: Option<(usize, Items<u8>, Items<u8>)>,
}

impl Tensor {
    fn new(name: String, (kind, shape, data, groups): Given<'_>) -> PyResult<Self> {
        let shape = match shape[..] {
            [length] => (1, length),
            [rows, cols] => (rows, cols),
            _ => {
                let text = format!("{name} has the shape {shape:?}, expected one or two numbers");
                return Err(PyValueError::new_err(text));
            }
        };
        let groups = groups
            .map(|(group, scales, zeros)| {
                PyResult::Ok((
                    group,
                    Items::new("scales", &scales)?,
                    Items::new("zeros", &zeros)?,
                ))
            })
            .transpose()?;
        Ok(Self {
            data: Items::new(&name, &data)?,
            name,
            kind,
            shape,
            groups,
        })
    }

    fn source(&self) -> PyResult<Source<'_>> {
        let (rows, cols) = self.shape;
        let wrong = |error: SourceError| PyValueError::new_err(format!("{}: {error}", self.name));
        match (&*self.kind, &self.groups) {
            (INT4, Some((group, scales, zeros))) => {
                let (scales, zeros) = (scales.as_slice(), zeros.as_slice());
                Source::int4((rows, cols), *group, self.data.as_slice(), scales, zeros)
            }
            (INT4, None) => return Err(self.groups_are_wrong("needs")),
            (_, Some(_)) => return Err(self.groups_are_wrong("has no")),
            (kind, None) => Source::new(source_kind(kind)?, rows, cols, self.data.as_slice()),
        }
        .map_err(wrong)
    }

    fn groups_are_wrong(&self, how: &str) -> PyErr {
        let Self { name, kind, .. } = self;
        PyValueError::new_err(format!("{name}: {kind} {how} groups with scales and zeros"))
    }
}

/// The spelling is that of `models/raw_tensor.py`.
pub(crate) fn source_kind(name: &str) -> PyResult<SourceKind> {
    Ok(match name {
        "f32" => SourceKind::F32,
        "f16" => SourceKind::F16,
        "bf16" => SourceKind::Bf16,
        "int8" => SourceKind::Int8,
        "q8_0" => SourceKind::Q8_0,
        "q4_0" => SourceKind::Q4_0,
        "q4_1" => SourceKind::Q4_1,
        "q4_k" => SourceKind::Q4K,
        "q5_0" => SourceKind::Q5_0,
        "q5_k" => SourceKind::Q5K,
        "q6_k" => SourceKind::Q6K,
        _ => return Err(unknown("tensor type", name)),
    })
}

pub(crate) fn weight_choice(name: Option<&str>) -> PyResult<WeightChoice> {
    Ok(match name {
        None => WeightChoice::Natural,
        Some("bf16") => WeightChoice::Bf16,
        Some("int8") => WeightChoice::Int8,
        Some("int4") => WeightChoice::Int4,
        Some(name) => return Err(unknown("weight type", name)),
    })
}

pub(crate) fn kv_kind(name: &str) -> PyResult<KvKind> {
    Ok(match name {
        "bf16" => KvKind::Bf16,
        "int8" => KvKind::Int8,
        _ => return Err(unknown("KV type", name)),
    })
}

/// `DecoderSpec.resolved` as JSON.
pub(crate) fn description(json: &str) -> PyResult<Spec> {
    let wrong = |error| PyValueError::new_err(format!("the model's description: {error}"));
    serde_json::from_str(json).map_err(wrong)
}

fn instruction_set(name: Option<&str>) -> PyResult<Isa> {
    let Some(name) = name else {
        return Ok(Isa::detect());
    };
    let isa: Isa = name
        .parse()
        .map_err(|error| PyValueError::new_err(format!("{error}")))?;
    match isa.is_supported() {
        true => Ok(isa),
        false => Err(PyValueError::new_err(format!(
            "this processor has no {isa}"
        ))),
    }
}

fn unknown(what: &str, name: &str) -> PyErr {
    PyValueError::new_err(format!("{name:?} is no {what}"))
}

pub(crate) fn load_failed(error: LoadError) -> PyErr {
    let text = error.to_string();
    match error {
        LoadError::Team(_) | LoadError::Threads(_) => PyRuntimeError::new_err(text),
        // Another executor may have them.
        LoadError::Attention(_) | LoadError::Plan(_) => PyNotImplementedError::new_err(text),
        _ => PyValueError::new_err(text),
    }
}

fn step_failed(error: StepError) -> PyErr {
    let text = error.to_string();
    match error {
        StepError::Team(_) | StepError::Unbound => PyRuntimeError::new_err(text),
        _ => PyValueError::new_err(text),
    }
}

/// A step's arrays with their memory borrowed, in the order of [`Decoder::step`]'s arguments.
struct Arrays {
    copies: Items<i32>,
    tokens: Items<u32>,
    query_starts: Items<i32>,
    context_lengths: Items<i32>,
    page_starts: Items<i32>,
    pages: Items<i32>,
    sample_rows: Items<i32>,
}

impl Arrays {
    fn new(plan: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self {
            copies: items(plan, "copies")?,
            tokens: items(plan, "tokens")?,
            query_starts: items(plan, "query_starts")?,
            context_lengths: items(plan, "context_lengths")?,
            page_starts: items(plan, "page_starts")?,
            pages: items(plan, "pages")?,
            sample_rows: items(plan, "sample_rows")?,
        })
    }

    fn plan(&self) -> Plan<'_> {
        Plan {
            copies: self.copies.as_slice(),
            tokens: self.tokens.as_slice(),
            query_starts: self.query_starts.as_slice(),
            context_lengths: self.context_lengths.as_slice(),
            page_starts: self.page_starts.as_slice(),
            pages: self.pages.as_slice(),
            sample_rows: self.sample_rows.as_slice(),
        }
    }
}

fn items<T: crate::buffer::Number>(plan: &Bound<'_, PyAny>, name: &str) -> PyResult<Items<T>> {
    Items::new(name, &plan.getattr(name)?)
}

#[pymethods]
impl Decoder {
    #[staticmethod]
    #[pyo3(signature = (
        spec, tensors, *, num_threads, weights = None, kv_dtype = "bf16", isa = None,
        sharing = true, progress = None,
    ))]
    #[expect(
        clippy::too_many_arguments,
        reason = "keyword arguments of one Python method"
    )]
    fn load(
        py: Python<'_>,
        spec: &str,
        tensors: HashMap<String, Given<'_>>,
        num_threads: Unsigned<usize>,
        weights: Option<&str>,
        kv_dtype: &str,
        isa: Option<&str>,
        sharing: bool,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let spec = description(spec)?;
        let options = Options {
            weights: weight_choice(weights)?,
            kv: kv_kind(kv_dtype)?,
            num_threads: NonZeroUsize::new(num_threads.0)
                .filter(|count| count.get() <= MAX_THREADS)
                .ok_or_else(|| {
                    let text = format!(
                        "num_threads is {}, expected 1 to {MAX_THREADS}",
                        num_threads.0
                    );
                    PyValueError::new_err(text)
                })?,
            isa: instruction_set(isa)?,
            sharing,
        };
        let tensors: Vec<Tensor> = tensors
            .into_iter()
            .map(|(name, given)| Tensor::new(name, given))
            .collect::<PyResult<_>>()?;
        let sources: Tensors<'_> = tensors
            .iter()
            .map(|tensor| Ok((tensor.name.clone(), tensor.source()?)))
            .collect::<PyResult<_>>()?;
        let mut raised = None;
        let tell = |done, total| {
            if let Some(progress) = &progress {
                let told = Python::attach(|py| progress.call1(py, (done, total)).map(|_| ()));
                raised = raised.take().or(told.err());
            }
        };
        let decoder = py.detach(|| decoder::Decoder::load(spec, &sources, options, tell));
        let decoder = decoder.map_err(load_failed)?;
        match raised {
            Some(error) => Err(error),
            None => Ok(Self {
                decoder,
                _pool: None,
            }),
        }
    }

    #[getter]
    fn page_tokens(&self) -> usize {
        kernels::attention::PAGE_TOKENS
    }

    #[getter]
    fn page_bytes(&self) -> usize {
        self.decoder.layout().page_bytes()
    }

    #[getter]
    fn isa(&self) -> String {
        self.decoder.isa().to_string()
    }

    #[getter]
    fn num_threads(&self) -> usize {
        self.decoder.num_threads()
    }

    #[getter]
    fn weights(&self) -> String {
        self.decoder.weights()
    }

    #[getter]
    fn weight_bytes(&self) -> usize {
        self.decoder.weight_bytes()
    }

    fn bind(&mut self, pool: &PagePool, num_slots: Unsigned<usize>) -> PyResult<()> {
        let num_slots = sampler::slot_count(num_slots.0)?;
        let layout = *self.decoder.layout();
        let (bytes, expected) = (pool.0.page_bytes(), layout.page_bytes());
        if bytes != expected {
            let text = format!("the pool's pages have {bytes} bytes, must be {expected}");
            return Err(PyValueError::new_err(text));
        }
        let base = NonNull::new(pool.0.as_ptr())
            .ok_or_else(|| PyValueError::new_err("the pool has no memory"))?;
        #[expect(unsafe_code, reason = "the pool's memory is shared by address")]
        // SAFETY: the pool has that many pages of that size, zero until written, and is kept as
        // long as the decoder may use them. Who else writes a page is the engine's to order.
        let pages = unsafe { Pages::new(layout, base, pool.0.num_pages() as usize) };
        self.decoder.bind(pages, num_slots);
        self._pool = Some(Arc::clone(&pool.0));
        Ok(())
    }

    fn unbind(&mut self) {
        self.decoder.unbind();
        self._pool = None;
    }

    fn open(
        &mut self,
        slot: Unsigned<usize>,
        params: &SamplingParams,
        prompt: &Bound<'_, PyAny>,
        generated: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let prompt = Items::new("prompt", prompt)?;
        let generated = Items::new("generated", generated)?;
        let sampler = self.decoder.sampler().map_err(step_failed)?;
        params
            .open(sampler, slot.0, prompt.as_slice(), generated.as_slice())
            .map_err(sampler::raised)
    }

    fn step(&mut self, py: Python<'_>, plan: &Bound<'_, PyAny>) -> PyResult<Samples> {
        let arrays = Arrays::new(plan)?;
        let slots: Items<i32> = items(plan, "sample_slots")?;
        let mask_rows: Items<i32> = items(plan, "mask_rows")?;
        let masks: Items<u32> = items(plan, "masks")?;
        let score_tokens: Items<u32> = items(plan, "score_tokens")?;
        let score_top_n: Items<u32> = items(plan, "score_top_n")?;
        let draws = Draws {
            slots: slots.as_slice(),
            mask_rows: mask_rows.as_slice(),
            masks: masks.as_slice(),
        };
        let scores = sampler::scores(score_tokens.as_slice(), score_top_n.as_slice())?;
        let samples = py.detach(|| self.decoder.step(&arrays.plan(), &draws, &scores));
        samples.map(Samples).map_err(step_failed)
    }

    fn logits<'py>(
        &mut self,
        py: Python<'py>,
        plan: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let arrays = Arrays::new(plan)?;
        let logits = py.detach(|| self.decoder.logits(&arrays.plan()));
        view(py, &logits.map_err(step_failed)?)
    }
}
