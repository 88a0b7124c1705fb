//! How a sequence's tokens are drawn, and the ranges.

use super::SamplerError;

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
    /// Share of the vocabulary that the watermark favours behind each token.
    pub watermark_gamma: f32,
    /// Added to the favoured tokens' logits; 0 is off.
    pub watermark_delta: f32,
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
            watermark_gamma: 0.5,
            watermark_delta: 0.0,
        }
    }
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
        check("presence_penalty", presence, presence.abs() <= 2.0, penalty)?;
        let (gamma, delta) = (self.watermark_gamma, self.watermark_delta);
        check(
            "watermark_gamma",
            gamma,
            gamma > 0.0 && gamma < 1.0,
            "a number between 0 and 1",
        )?;
        check("watermark_delta", delta, delta >= 0.0, "a number from 0")
    }
}

/// Checks that biases, pairs of a token and what is added to its logit, are finite.
///
/// # Errors
/// `Parameter`.
pub fn check_biases(biases: &[(u32, f32)]) -> Result<(), SamplerError> {
    match biases.iter().find(|(_, bias)| !bias.is_finite()) {
        None => Ok(()),
        Some(&(_, value)) => Err(SamplerError::Parameter {
            name: "logit_bias",
            value,
            expected: "a finite number",
        }),
    }
}
