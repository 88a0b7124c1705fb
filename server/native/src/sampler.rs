//! `Sampler`, `SamplingParams` and `Samples`.

use kernels::sampler::{self, Draws, Sample, SamplerError, Score};
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;

use crate::buffer::{Items, view};
use crate::unsigned::{Unsigned, in_range};

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
    logit_bias: Vec<(u32, f32)>,
    watermark_gamma: f32,
    watermark_delta: f32,
}

impl SamplingParams {
    /// Starts a slot of a sampler anew with these parameters.
    ///
    /// # Errors
    /// Those of [`sampler::Sampler::open`] and [`sampler::Sampler::bias`].
    pub(crate) fn open(
        &self,
        sampler: &mut sampler::Sampler,
        slot: usize,
        prompt: &[u32],
        generated: &[u32],
    ) -> Result<(), SamplerError> {
        sampler.open(slot, self.params(), prompt, generated)?;
        sampler.bias(slot, &self.logit_bias)
    }

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
            watermark_gamma: self.watermark_gamma,
            watermark_delta: self.watermark_delta,
        }
    }
}

#[pymethods]
impl SamplingParams {
    #[new]
    #[pyo3(signature = (
        *, temperature = 0.0, top_k = 0, top_p = 1.0, typical_p = 1.0, repetition_penalty = 1.0,
        frequency_penalty = 0.0, presence_penalty = 0.0, seed = 0, top_n = 0,
        logit_bias = None, watermark_gamma = 0.5, watermark_delta = 0.0,
    ))]
    #[expect(
        clippy::too_many_arguments,
        reason = "keyword arguments of one Python class"
    )]
    fn new(
        temperature: f32,
        top_k: i128,
        top_p: f32,
        typical_p: f32,
        repetition_penalty: f32,
        frequency_penalty: f32,
        presence_penalty: f32,
        seed: i128,
        top_n: i128,
        logit_bias: Option<Vec<(i128, f32)>>,
        watermark_gamma: f32,
        watermark_delta: f32,
    ) -> PyResult<Self> {
        let logit_bias = logit_bias
            .unwrap_or_default()
            .into_iter()
            .map(|(token, bias)| Ok((in_range("token id", token)?, bias)))
            .collect::<PyResult<Vec<_>>>()?;
        sampler::check_biases(&logit_bias).map_err(raised)?;
        let params = Self {
            temperature,
            top_k: in_range("top_k", top_k)?,
            top_p,
            typical_p,
            repetition_penalty,
            frequency_penalty,
            presence_penalty,
            seed: in_range("seed", seed)?,
            top_n: in_range("top_n", top_n)?,
            logit_bias,
            watermark_gamma,
            watermark_delta,
        };
        params.params().validate().map_err(raised)?;
        Ok(params)
    }
}

/// What `Sampler.sample` drew.
#[pyclass(frozen, module = "text_generation_server._native")]
pub(crate) struct Samples(pub(crate) Vec<Sample>);

impl Samples {
    fn top<T>(&self, field: impl Fn(&(u32, f32)) -> T) -> Vec<T> {
        self.0
            .iter()
            .flat_map(|sample| &sample.top)
            .map(field)
            .collect()
    }
}

#[pymethods]
impl Samples {
    #[getter]
    fn token_ids<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let ids: Vec<i32> = self.0.iter().map(|sample| sample.token as i32).collect();
        view(py, &ids)
    }

    #[getter]
    fn logprobs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let logprobs: Vec<f32> = self.0.iter().map(|sample| sample.logprob).collect();
        view(py, &logprobs)
    }

    #[getter]
    fn top_starts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let mut starts = vec![0i32];
        starts.extend(self.0.iter().scan(0, |end, sample| {
            *end += sample.top.len() as i32;
            Some(*end)
        }));
        view(py, &starts)
    }

    #[getter]
    fn top_ids<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        view(py, &self.top(|&(id, _)| id as i32))
    }

    #[getter]
    fn top_logprobs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        view(py, &self.top(|&(_, logprob)| logprob))
    }
}

/// Draws tokens from logits.
#[pyclass(module = "text_generation_server._native")]
pub(crate) struct Sampler(sampler::Sampler);

/// Far above any batch; a slot takes memory before it is used.
const MAX_SLOTS: usize = 1 << 20;

/// A number of slots that there is memory for.
pub(crate) fn slot_count(num_slots: usize) -> PyResult<usize> {
    if num_slots > MAX_SLOTS {
        let text = format!("num_slots is {num_slots}, expected at most {MAX_SLOTS}");
        return Err(PyValueError::new_err(text));
    }
    Ok(num_slots)
}

pub(crate) fn raised(error: SamplerError) -> PyErr {
    let text = error.to_string();
    match error {
        SamplerError::SlotRange { .. } | SamplerError::MaskRow { .. } => {
            PyIndexError::new_err(text)
        }
        _ => PyValueError::new_err(text),
    }
}

fn positions(positions: &[i32]) -> PyResult<Vec<u32>> {
    let negative = |value| PyValueError::new_err(format!("position {value} is negative"));
    let position = |&value| u32::try_from(value).map_err(|_| negative(value));
    positions.iter().map(position).collect()
}

/// Tokens to score, each with the number of likely ones to report beside it.
pub(crate) fn scores(tokens: &[u32], top_n: &[u32]) -> PyResult<Vec<Score>> {
    if tokens.len() != top_n.len() {
        let text = format!(
            "{} score_tokens, but {} score_top_n",
            tokens.len(),
            top_n.len()
        );
        return Err(PyValueError::new_err(text));
    }
    let score = |(&token, &top_n)| Score { token, top_n };
    Ok(tokens.iter().zip(top_n).map(score).collect())
}

#[pymethods]
impl Sampler {
    #[new]
    fn new(vocab_size: Unsigned<usize>, num_slots: Unsigned<usize>) -> PyResult<Self> {
        let Unsigned(vocab_size) = vocab_size;
        if vocab_size == 0 || i32::try_from(vocab_size).is_err() {
            let text = format!("vocab_size is {vocab_size}, expected 1 to {}", i32::MAX);
            return Err(PyValueError::new_err(text));
        }
        let num_slots = slot_count(num_slots.0)?;
        Ok(Self(sampler::Sampler::new(vocab_size, num_slots)))
    }

    fn open(
        &mut self,
        slot: Unsigned<usize>,
        params: &SamplingParams,
        prompt: &Bound<'_, PyAny>,
        generated: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let (prompt, generated) = (
            Items::new("prompt", prompt)?,
            Items::new("generated", generated)?,
        );
        let (prompt, generated) = (prompt.as_slice(), generated.as_slice());
        params
            .open(&mut self.0, slot.0, prompt, generated)
            .map_err(raised)
    }

    fn close(&mut self, slot: Unsigned<usize>) -> PyResult<()> {
        self.0.close(slot.0).map_err(raised)
    }

    #[pyo3(signature = (logits, slots, positions, mask_rows = None, masks = None))]
    #[expect(clippy::too_many_arguments, reason = "arguments of one Python method")]
    fn sample(
        &mut self,
        py: Python<'_>,
        logits: &Bound<'_, PyAny>,
        slots: &Bound<'_, PyAny>,
        positions: &Bound<'_, PyAny>,
        mask_rows: Option<&Bound<'_, PyAny>>,
        masks: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Samples> {
        let (logits, slots) = (Items::new("logits", logits)?, Items::new("slots", slots)?);
        let positions = Items::new("positions", positions)?;
        let mask_rows = mask_rows
            .map(|rows| Items::new("mask_rows", rows))
            .transpose()?;
        let masks = masks.map(|masks| Items::new("masks", masks)).transpose()?;
        let draws = Draws {
            slots: slots.as_slice(),
            mask_rows: mask_rows.as_ref().map_or(&[], Items::as_slice),
            masks: masks.as_ref().map_or(&[], Items::as_slice),
        };
        let positions = self::positions(positions.as_slice())?;
        let rows = draws
            .rows(&positions, self.0.mask_words())
            .map_err(raised)?;
        let samples = py.detach(|| self.0.sample(logits.as_slice(), &rows));
        samples.map(Samples).map_err(raised)
    }

    fn score(
        &self,
        py: Python<'_>,
        logits: &Bound<'_, PyAny>,
        tokens: &Bound<'_, PyAny>,
        top_n: &Bound<'_, PyAny>,
    ) -> PyResult<Samples> {
        let logits = Items::new("logits", logits)?;
        let (tokens, top_n) = (Items::new("tokens", tokens)?, Items::new("top_n", top_n)?);
        let scores = scores(tokens.as_slice(), top_n.as_slice())?;
        let samples = py.detach(|| self.0.score_all(logits.as_slice(), &scores));
        samples.map(Samples).map_err(raised)
    }
}
