//! Draws the next token of many sequences from their logits.
//!
//! A draw depends on its row of logits, its slot's state, the seed and the position, and on nothing
//! else: not on the other rows, their number or their order. The generator is counter-based: it is
//! keyed by (seed, position), so a preempted or resumed sequence draws what it would have drawn.
//!
//! Order per row: penalties → temperature → top-k → top-p → typical-p → draw. Reported log
//! probabilities are those of the unmodified logits.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

mod filter;
mod logprob;
mod penalty;
#[cfg(test)]
mod tests;

use filter::Candidates;
use penalty::Counts;

/// How a sequence's tokens are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SamplingParams {
    /// 0 takes the most likely token, the lowest id among equals.
    pub temperature: f32,
    /// Keep the k most likely tokens; 0 keeps all.
    pub top_k: u32,
    /// Keep the smallest set of tokens whose probabilities reach this sum; 1 keeps all.
    pub top_p: f32,
    /// Keep locally typical tokens of this mass (Meister et al., arXiv:2202.00666); 1 keeps all.
    pub typical_p: f32,
    /// Divides positive and multiplies negative logits of tokens in the text (Keskar et al.,
    /// arXiv:1909.05858); 1 is off.
    pub repetition_penalty: f32,
    /// Subtracted per earlier occurrence in the answer; 0 is off.
    pub frequency_penalty: f32,
    /// Subtracted once for tokens in the answer; 0 is off.
    pub presence_penalty: f32,
    /// Keys the generator.
    pub seed: u64,
    /// Most likely tokens to report.
    pub top_n: u32,
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            typical_p: 1.0,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            seed: 0,
            top_n: 0,
        }
    }
}

/// What a caller got wrong.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SamplerError {
    /// A parameter is not finite or out of range.
    #[error("{name} is {value}, expected {expected}")]
    Parameter {
        /// The parameter.
        name: &'static str,
        /// What it is.
        value: f32,
        /// What it may be.
        expected: &'static str,
    },
    /// A slot beyond the number of slots.
    #[error("slot {slot} is not below {num_slots}")]
    SlotRange {
        /// The slot.
        slot: usize,
        /// How many there are.
        num_slots: usize,
    },
    /// A slot that was not opened.
    #[error("slot {0} is not open")]
    SlotClosed(usize),
    /// A slot in two rows.
    #[error("slot {0} is in two rows of one call")]
    SlotTwice(usize),
    /// A token id beyond the vocabulary.
    #[error("token id {token} is not below the vocabulary of {vocab_size}")]
    Token {
        /// The id.
        token: u32,
        /// The vocabulary's size.
        vocab_size: usize,
    },
    /// Logits of another size than rows times vocabulary.
    #[error("{logits} logits for {rows} rows of {vocab_size}")]
    Shape {
        /// Logits given.
        logits: usize,
        /// Rows given.
        rows: usize,
        /// The vocabulary's size.
        vocab_size: usize,
    },
    /// A row that allows no token.
    #[error("row {0} has no finite logit")]
    NoFiniteLogit(usize),
}

impl SamplingParams {
    /// Checks every range.
    ///
    /// # Errors
    /// The first parameter that is out of its range.
    pub fn validate(&self) -> Result<(), SamplerError> {
        let check = |name, value: f32, holds: bool, expected| {
            if value.is_finite() && holds {
                Ok(())
            } else {
                Err(SamplerError::Parameter {
                    name,
                    value,
                    expected,
                })
            }
        };
        let share = "a number above 0 and up to 1";
        let penalty = "a number from -2 to 2";
        check(
            "temperature",
            self.temperature,
            self.temperature >= 0.0,
            "a number from 0",
        )?;
        check(
            "top_p",
            self.top_p,
            self.top_p > 0.0 && self.top_p <= 1.0,
            share,
        )?;
        check(
            "typical_p",
            self.typical_p,
            self.typical_p > 0.0 && self.typical_p <= 1.0,
            share,
        )?;
        let repetition = self.repetition_penalty;
        check(
            "repetition_penalty",
            repetition,
            repetition > 0.0,
            "a number above 0",
        )?;
        let frequency = self.frequency_penalty;
        check(
            "frequency_penalty",
            frequency,
            frequency.abs() <= 2.0,
            penalty,
        )?;
        let presence = self.presence_penalty;
        check("presence_penalty", presence, presence.abs() <= 2.0, penalty)
    }
}

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
pub struct Row {
    /// An open slot.
    pub slot: usize,
    /// Position in its sequence of the token to draw.
    pub position: u32,
}

#[derive(Debug)]
struct Slot {
    params: SamplingParams,
    counts: Counts,
}

/// The sampler: parameters and token counts of each slot.
#[derive(Debug)]
pub struct Sampler {
    vocab_size: usize,
    slots: Vec<Option<Slot>>,
}

impl Sampler {
    /// A sampler with all slots closed.
    #[must_use]
    pub fn new(vocab_size: usize, num_slots: usize) -> Self {
        Self {
            vocab_size,
            slots: (0..num_slots).map(|_| None).collect(),
        }
    }

    /// Starts a slot anew. `prompt` and `generated` are the tokens that the penalties count.
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
        let vocab_size = self.vocab_size;
        if let Some(&token) = prompt
            .iter()
            .chain(generated)
            .find(|&&t| t as usize >= vocab_size)
        {
            return Err(SamplerError::Token { token, vocab_size });
        }
        self.slots[slot] = Some(Slot {
            params,
            counts: Counts::new(prompt, generated),
        });
        Ok(())
    }

    /// Ends a slot.
    ///
    /// # Errors
    /// `SlotRange`, `SlotClosed`.
    pub fn close(&mut self, slot: usize) -> Result<(), SamplerError> {
        self.check_slot(slot)?;
        self.slots[slot]
            .take()
            .map(|_| ())
            .ok_or(SamplerError::SlotClosed(slot))
    }

    /// Draws a token for each row and counts it into the row's slot.
    ///
    /// logits: rows.len() times the vocabulary, row after row.
    ///
    /// # Errors
    /// `Shape`, `SlotRange`, `SlotClosed`, `SlotTwice`, `NoFiniteLogit`; no slot has changed then.
    pub fn sample(&mut self, logits: &[f32], rows: &[Row]) -> Result<Vec<Sample>, SamplerError> {
        self.check_rows(logits, rows)?;
        let samples: Vec<Sample> = rows
            .iter()
            .zip(logits.chunks_exact(self.vocab_size))
            .map(|(row, logits)| self.draw(*row, logits))
            .collect();
        for (row, sample) in rows.iter().zip(&samples) {
            let slot = self.slots[row.slot].as_mut().expect("checked to be open");
            slot.counts.add(&slot.params, sample.token);
        }
        Ok(samples)
    }

    fn check_slot(&self, slot: usize) -> Result<(), SamplerError> {
        let num_slots = self.slots.len();
        if slot < num_slots {
            Ok(())
        } else {
            Err(SamplerError::SlotRange { slot, num_slots })
        }
    }

    fn check_rows(&self, logits: &[f32], rows: &[Row]) -> Result<(), SamplerError> {
        let vocab_size = self.vocab_size;
        if rows.len().checked_mul(vocab_size) != Some(logits.len()) {
            let (logits, rows) = (logits.len(), rows.len());
            return Err(SamplerError::Shape {
                logits,
                rows,
                vocab_size,
            });
        }
        let mut seen = vec![false; self.slots.len()];
        for (index, row) in rows.iter().enumerate() {
            self.check_slot(row.slot)?;
            if self.slots[row.slot].is_none() {
                return Err(SamplerError::SlotClosed(row.slot));
            }
            if std::mem::replace(&mut seen[row.slot], true) {
                return Err(SamplerError::SlotTwice(row.slot));
            }
            let logits = &logits[index * vocab_size..][..vocab_size];
            if !logits.iter().any(|logit| logit.is_finite()) {
                return Err(SamplerError::NoFiniteLogit(index));
            }
        }
        Ok(())
    }

    fn draw(&self, row: Row, logits: &[f32]) -> Sample {
        let slot = self.slots[row.slot].as_ref().expect("checked to be open");
        let penalized = slot.counts.penalize(&slot.params, logits);
        let weighted: &[f32] = penalized.as_deref().unwrap_or(logits);
        let token = if slot.params.temperature == 0.0 {
            logprob::argmax(weighted)
        } else {
            draw_token(&slot.params, weighted, row.position)
        };
        let log_sum = logprob::log_sum_exp(logits);
        Sample {
            token,
            logprob: logprob::of(logits[token as usize], log_sum),
            top: logprob::top(logits, slot.params.top_n as usize, log_sum),
        }
    }
}

fn draw_token(params: &SamplingParams, logits: &[f32], position: u32) -> u32 {
    let mut candidates = Candidates::new(logits, params.temperature, params.top_k as usize);
    candidates.keep_top_p(params.top_p);
    candidates.keep_typical(params.typical_p);
    candidates.pick(uniform(params.seed, position))
}

/// A number in [0, 1) that depends on seed and position alone.
fn uniform(seed: u64, position: u32) -> f64 {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(u64::from(position));
    // 53 bits: what the significand of a double holds.
    (generator.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}
