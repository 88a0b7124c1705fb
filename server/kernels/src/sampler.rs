//! Draws the next token of many sequences from their logits.
//!
//! A draw depends on its row of logits, its mask, its slot's state, the seed and the position, and
//! on nothing else: not on the other rows, their number, their order or the thread. The generator is
//! counter-based: it is keyed by (seed, position), so a preempted or resumed sequence draws what it
//! would have drawn.
//!
//! Order per row: mask → watermark → biases → penalties → temperature → top-k → top-p → typical-p → draw.
//! Reported log probabilities are those of the unmodified logits.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::simd::Isa;

mod draws;
mod edit;
mod error;
mod filter;
mod gather;
mod params;
mod penalty;
mod scan;
mod score;
#[cfg(test)]
mod tests;
mod watermark;

pub use draws::Draws;
pub use error::SamplerError;
pub use params::{SamplingParams, check_biases};
pub use score::Score;
pub use watermark::is_green;

use edit::Edit;
use filter::Candidates;
use penalty::Counts;
use scan::{Scale, Scan};
use score::log_probabilities;

/// A drawn token.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its id.
    pub token: u32,
    /// Natural log of its probability under the unmodified logits.
    pub logprob: f32,
    /// The most likely tokens and their log probabilities, most likely first, lower ids first.
    pub top: Vec<(u32, f32)>,
}

/// A row to draw from.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// An open slot.
    pub slot: usize,
    /// Position in its sequence of the token to draw.
    pub position: u32,
    /// A bit for each token, bit `id % 32` of word `id / 32`: 1 allows it. `None` allows all.
    pub mask: Option<&'a [u32]>,
}

#[derive(Debug)]
struct Slot {
    params: SamplingParams,
    /// The text's last token, if it is known.
    last: Option<u32>,
    biases: Vec<(u32, f32)>,
    counts: Counts,
}

impl Slot {
    fn edit(&self, row: &mut Edit<'_>) {
        if let Some(last) = self.last {
            watermark::favour(&self.params, last, row);
        }
        for &(token, bias) in &self.biases {
            row.change(token, |logit| logit + bias);
        }
        self.counts.penalize(&self.params, row);
    }
}

/// The sampler: parameters, biases and token counts of each slot.
///
/// [`Sampler::draw`] changes nothing, so that threads can share the rows of a step;
/// [`Sampler::commit`] then counts what was drawn.
#[derive(Debug)]
pub struct Sampler {
    isa: Isa,
    vocab_size: usize,
    slots: Vec<Option<Slot>>,
}

impl Sampler {
    /// A sampler with all slots closed, on the best instruction set there is.
    #[must_use]
    pub fn new(vocab_size: usize, num_slots: usize) -> Self {
        Self::with_isa(vocab_size, num_slots, Isa::detect())
    }

    /// A sampler with all slots closed. The processor must have the instruction set.
    #[must_use]
    pub fn with_isa(vocab_size: usize, num_slots: usize, isa: Isa) -> Self {
        Self {
            isa,
            vocab_size,
            slots: (0..num_slots).map(|_| None).collect(),
        }
    }

    /// 32-bit words of a mask.
    #[must_use]
    pub fn mask_words(&self) -> usize {
        self.vocab_size.div_ceil(32)
    }

    /// Starts a slot anew. `prompt` and `generated` are the tokens that the penalties count; a
    /// watermark looks at the last of them.
    ///
    /// # Errors
    /// `Parameter`, `SlotRange`, `Token`; the slot is then as it was.
    pub fn open(
        &mut self,
        slot: usize,
        params: SamplingParams,
        prompt: &[u32],
        generated: &[u32],
    ) -> Result<(), SamplerError> {
        params.validate()?;
        self.check_slot(slot)?;
        self.check_tokens(prompt.iter().chain(generated))?;
        self.slots[slot] = Some(Slot {
            params,
            last: generated.last().or(prompt.last()).copied(),
            biases: Vec::new(),
            counts: Counts::new(&params, prompt, generated),
        });
        Ok(())
    }

    /// Adds numbers to the logits of an open slot's tokens from now on.
    ///
    /// # Errors
    /// `Parameter`, `SlotRange`, `SlotClosed`, `Token`; the slot is then as it was.
    pub fn bias(&mut self, slot: usize, biases: &[(u32, f32)]) -> Result<(), SamplerError> {
        self.slot(slot)?;
        self.check_tokens(biases.iter().map(|(token, _)| token))?;
        params::check_biases(biases)?;
        let open = self.slots[slot].as_mut().expect("checked to be open");
        open.biases = biases.to_vec();
        Ok(())
    }

    /// Ends a slot.
    ///
    /// # Errors
    /// `SlotRange`, `SlotClosed`.
    pub fn close(&mut self, slot: usize) -> Result<(), SamplerError> {
        self.slot(slot)?;
        self.slots[slot] = None;
        Ok(())
    }

    /// Checks the rows of a step: their slots are open, none is in two rows, masks have their size.
    ///
    /// # Errors
    /// `SlotRange`, `SlotClosed`, `SlotTwice`, `Mask`.
    pub fn check(&self, rows: &[Row<'_>]) -> Result<(), SamplerError> {
        let mut seen = vec![false; self.slots.len()];
        for row in rows {
            self.slot(row.slot)?;
            self.check_mask(row)?;
            if std::mem::replace(&mut seen[row.slot], true) {
                return Err(SamplerError::SlotTwice(row.slot));
            }
        }
        Ok(())
    }

    /// Draws a token from a row of logits, one a token of the vocabulary. The logits are room to
    /// work in and have no meaning afterwards.
    ///
    /// # Errors
    /// `Shape`, `SlotRange`, `SlotClosed`, `Mask`, `NoFiniteLogit`.
    pub fn draw(&self, row: Row<'_>, logits: &mut [f32]) -> Result<Sample, SamplerError> {
        self.check_shape(logits, 1)?;
        self.check_mask(&row)?;
        let slot = self.slot(row.slot)?;
        let scan = Scan::new(self.isa, logits, Scale::UNMODIFIED);
        let log_sum = scan.log_sum_exp();
        let top = scan.largest(self.isa, logits, slot.params.top_n as usize);
        let mut edit = Edit::new(logits);
        if let Some(mask) = row.mask {
            edit.allow(self.isa, mask);
        }
        slot.edit(&mut edit);
        let token = self
            .choose(slot.params, row.position, &edit, scan)
            .ok_or(SamplerError::NoFiniteLogit(row.slot))?;
        Ok(Sample {
            token,
            logprob: log_probability(edit.original(token), log_sum),
            top: log_probabilities(top, log_sum),
        })
    }

    /// Counts drawn tokens into the slots of their rows.
    ///
    /// # Errors
    /// `SlotRange`, `SlotClosed`, `SlotTwice`, `Mask`; nothing is counted then.
    pub fn commit(&mut self, rows: &[Row<'_>], samples: &[Sample]) -> Result<(), SamplerError> {
        self.check(rows)?;
        for (row, sample) in rows.iter().zip(samples) {
            let slot = self.slots[row.slot].as_mut().expect("checked to be open");
            slot.counts.add(&slot.params, sample.token);
            slot.last = Some(sample.token);
        }
        Ok(())
    }

    /// Draws a token for each row and counts it into the row's slot, on the calling thread.
    ///
    /// logits: rows.len() times the vocabulary, row after row.
    ///
    /// # Errors
    /// Those of [`Sampler::check`] and [`Sampler::draw`]; no slot has changed then.
    pub fn sample(
        &mut self,
        logits: &[f32],
        rows: &[Row<'_>],
    ) -> Result<Vec<Sample>, SamplerError> {
        self.check_shape(logits, rows.len())?;
        self.check(rows)?;
        let mut work = vec![0.0; self.vocab_size];
        let samples = rows
            .iter()
            .zip(logits.chunks_exact(self.vocab_size))
            .map(|(row, logits)| {
                work.copy_from_slice(logits);
                self.draw(*row, &mut work)
            })
            .collect::<Result<Vec<_>, _>>()?;
        self.commit(rows, &samples)?;
        Ok(samples)
    }

    /// A token of the edited row; `None` where none is possible. `scan` is of the unmodified row.
    fn choose(
        &self,
        params: SamplingParams,
        position: u32,
        row: &Edit<'_>,
        scan: Scan,
    ) -> Option<u32> {
        let greedy = params.temperature == 0.0;
        let scale = if greedy {
            scan.scale()
        } else {
            Scale::of_temperature(params.temperature)
        };
        let scan = if row.is_changed() || scale != scan.scale() {
            Scan::new(self.isa, row.logits(), scale)
        } else {
            scan
        };
        match scan.best() {
            f32::NEG_INFINITY => None,
            _ if greedy => Some(scan.argmax(row.logits())),
            f32::INFINITY => {
                let certain = certain(row.logits());
                let scan = Scan::new(self.isa, &certain, scale);
                Some(self.pick(&params, position, &certain, &scan))
            }
            _ => Some(self.pick(&params, position, row.logits(), &scan)),
        }
    }

    /// A token of a row whose largest logit is finite, at a temperature above 0.
    fn pick(&self, params: &SamplingParams, position: u32, logits: &[f32], scan: &Scan) -> u32 {
        let (isa, top_k, top_p) = (self.isa, params.top_k as usize, params.top_p);
        let point = uniform(params.seed, position);
        let mut candidates = if top_k > 0 {
            Candidates::top_k(isa, logits, scan, top_k)
        } else if top_p < 1.0 {
            Candidates::nucleus(isa, logits, scan, top_p)
        } else if params.typical_p < 1.0 {
            return Candidates::typical(isa, logits, scan, params.typical_p).pick(point);
        } else {
            return scan.pick(isa, logits, point);
        };
        let total = if top_k > 0 {
            candidates.mass()
        } else {
            scan.total()
        };
        candidates.keep_top_p(top_p, total);
        candidates.keep_typical(params.typical_p);
        candidates.pick(point)
    }

    fn slot(&self, slot: usize) -> Result<&Slot, SamplerError> {
        self.check_slot(slot)?;
        self.slots[slot]
            .as_ref()
            .ok_or(SamplerError::SlotClosed(slot))
    }

    fn check_slot(&self, slot: usize) -> Result<(), SamplerError> {
        let num_slots = self.slots.len();
        if slot < num_slots {
            Ok(())
        } else {
            Err(SamplerError::SlotRange { slot, num_slots })
        }
    }

    fn check_tokens<'t>(
        &self,
        mut tokens: impl Iterator<Item = &'t u32>,
    ) -> Result<(), SamplerError> {
        let vocab_size = self.vocab_size;
        match tokens.find(|&&token| token as usize >= vocab_size) {
            None => Ok(()),
            Some(&token) => Err(SamplerError::Token { token, vocab_size }),
        }
    }

    fn check_shape(&self, logits: &[f32], rows: usize) -> Result<(), SamplerError> {
        let (logits, vocab_size) = (logits.len(), self.vocab_size);
        if rows.checked_mul(vocab_size) == Some(logits) {
            return Ok(());
        }
        Err(SamplerError::Shape {
            logits,
            rows,
            vocab_size,
        })
    }

    fn check_mask(&self, row: &Row<'_>) -> Result<(), SamplerError> {
        let expected = self.mask_words();
        let words = row.mask.map_or(expected, <[u32]>::len);
        let slot = row.slot;
        if words == expected {
            return Ok(());
        }
        Err(SamplerError::Mask {
            slot,
            words,
            expected,
        })
    }
}

/// A row in which infinite logits share all.
fn certain(logits: &[f32]) -> Vec<f32> {
    let share = |&logit: &f32| {
        if logit == f32::INFINITY {
            0.0
        } else {
            f32::NEG_INFINITY
        }
    };
    logits.iter().map(share).collect()
}

/// Log probability of a logit; a logit of plus infinity is certain.
fn log_probability(logit: f32, log_sum: f64) -> f32 {
    if logit == f32::INFINITY {
        0.0
    } else {
        (f64::from(logit) - log_sum) as f32
    }
}

/// A number in [0, 1) that depends on seed and position alone.
fn uniform(seed: u64, position: u32) -> f64 {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(u64::from(position));
    // 53 bits: what the significand of a double holds.
    (generator.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}
