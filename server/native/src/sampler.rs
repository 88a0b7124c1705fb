//! `Sampler`, `SamplingParams` and `Samples`.

use kernels::sampler::{self, Row, Sample, SamplerError};
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;

use crate::buffer::{items, view};

/// How a sequence's tokens are drawn.
#[pyclass(frozen, get_all, module = "text_generation_server._native")]
pub(crate) struct SamplingParams {
    temperature: f32,
    top_k: u32,
    top_p: f32,
    typical_p: f32,
    repetition_penalty: f32,
    frequency_penalty: f32,
    presence_penalty: f32,
    seed: u64,
    top_n: u32,
}

impl SamplingParams {
    fn params(&self) -> sampler::SamplingParams {
        sampler::SamplingParams {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            typical_p: self.typical_p,
            repetition_penalty: self.repetition_penalty,
            frequency_penalty: self.frequency_penalty,
            presence_penalty: self.presence_penalty,
            seed: self.seed,
            top_n: self.top_n,
        }
    }
}

#[pymethods]
impl SamplingParams {
    #[new]
    #[pyo3(signature = (
        *, temperature = 0.0, top_k = 0, top_p = 1.0, typical_p = 1.0, repetition_penalty = 1.0,
        frequency_penalty = 0.0, presence_penalty = 0.0, seed = 0, top_n = 0,
    ))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of one Python class")]
    fn new(
        temperature: f32,
        top_k: u32,
        top_p: f32,
        typical_p: f32,
        repetition_penalty: f32,
        frequency_penalty: f32,
        presence_penalty: f32,
        seed: u64,
        top_n: u32,
    ) -> PyResult<Self> {
        let params = Self {
            temperature,
            top_k,
            top_p,
            typical_p,
            repetition_penalty,
            frequency_penalty,
            presence_penalty,
            seed,
            top_n,
        };
        params.params().validate().map_err(raised)?;
        Ok(params)
    }
}

/// What `Sampler.sample` drew.
#[pyclass(frozen, module = "text_generation_server._native")]
pub(crate) struct Samples(Vec<Sample>);

impl Samples {
    fn top<T>(&self, field: impl Fn(&(u32, f32)) -> T) -> Vec<T> {
        self.0.iter().flat_map(|sample| &sample.top).map(field).collect()
    }
}

#[pymethods]
impl Samples {
    #[getter]
    fn token_ids<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        view(py, &self.0.iter().map(|sample| sample.token).collect::<Vec<u32>>(), "i")
    }

    #[getter]
    fn logprobs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        view(py, &self.0.iter().map(|sample| sample.logprob).collect::<Vec<f32>>(), "f")
    }

    #[getter]
    fn top_starts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let mut starts = vec![0i32];
        starts.extend(self.0.iter().scan(0, |end, sample| {
            *end += sample.top.len() as i32;
            Some(*end)
        }));
        view(py, &starts, "i")
    }

    #[getter]
    fn top_ids<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        view(py, &self.top(|&(id, _)| id), "i")
    }

    #[getter]
    fn top_logprobs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        view(py, &self.top(|&(_, logprob)| logprob), "f")
    }
}

/// Draws tokens from logits.
#[pyclass(module = "text_generation_server._native")]
pub(crate) struct Sampler(sampler::Sampler);

fn raised(error: SamplerError) -> PyErr {
    let text = error.to_string();
    match error {
        SamplerError::SlotRange { .. } => PyIndexError::new_err(text),
        _ => PyValueError::new_err(text),
    }
}

fn unsigned<T: TryFrom<i32>>(name: &str, value: i32) -> PyResult<T> {
    T::try_from(value).map_err(|_| PyValueError::new_err(format!("{name} is {value}, expected 0 or more")))
}

#[pymethods]
impl Sampler {
    #[new]
    fn new(vocab_size: usize, num_slots: usize) -> PyResult<Self> {
        if vocab_size == 0 || u32::try_from(vocab_size).is_err() {
            return Err(PyValueError::new_err(format!("a vocabulary of {vocab_size} is out of range")));
        }
        Ok(Self(sampler::Sampler::new(vocab_size, num_slots)))
    }

    fn open(
        &mut self,
        slot: usize,
        params: &SamplingParams,
        prompt: &Bound<'_, PyAny>,
        generated: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let (prompt, generated) = (items("prompt", prompt)?, items("generated", generated)?);
        self.0.open(slot, params.params(), &prompt, &generated).map_err(raised)
    }

    fn close(&mut self, slot: usize) -> PyResult<()> {
        self.0.close(slot).map_err(raised)
    }

    fn sample(
        &mut self,
        py: Python<'_>,
        logits: &Bound<'_, PyAny>,
        slots: &Bound<'_, PyAny>,
        positions: &Bound<'_, PyAny>,
    ) -> PyResult<Samples> {
        let logits: Vec<f32> = items("logits", logits)?;
        let (slots, positions) = (items("slots", slots)?, items("positions", positions)?);
        if slots.len() != positions.len() {
            let text = format!("{} slots, but {} positions", slots.len(), positions.len());
            return Err(PyValueError::new_err(text));
        }
        let rows: Vec<Row> = slots
            .into_iter()
            .zip(positions)
            .map(|(slot, position)| {
                Ok(Row { slot: unsigned("slot", slot)?, position: unsigned("position", position)? })
            })
            .collect::<PyResult<_>>()?;
        py.detach(|| self.0.sample(&logits, &rows)).map(Samples).map_err(raised)
    }
}
