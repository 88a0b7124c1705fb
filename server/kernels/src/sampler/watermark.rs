//! A watermark: behind each token a share of the vocabulary, chosen by a hash, is made likelier, so
//! that a text with more of these tokens than chance gives shows where it comes from (Kirchenbauer
//! et al., arXiv:2301.10226, with the soft rule and one token of context).

use super::SamplingParams;
use super::edit::Edit;

/// Adds `watermark_delta` to the logits of the tokens that are green behind `last`.
pub(super) fn favour(params: &SamplingParams, last: u32, row: &mut Edit<'_>) {
    let delta = params.watermark_delta;
    if delta == 0.0 {
        return;
    }
    let vocab_size = u32::try_from(row.logits().len()).expect("token ids have 32 bits");
    for token in (0..vocab_size).filter(|&token| is_green(last, token, params.watermark_gamma)) {
        row.change(token, |logit| logit + delta);
    }
}

/// Whether a token is among those favoured behind `last`, a share of `gamma` of all. Whoever looks
/// for the watermark asks the same.
#[must_use]
pub fn is_green(last: u32, token: u32, gamma: f32) -> bool {
    let hash = mix(u64::from(last) << 32 | u64::from(token));
    // 53 bits: what the significand of a double holds.
    ((hash >> 11) as f64 / (1u64 << 53) as f64) < f64::from(gamma)
}

/// The output function of SplitMix64 (Steele, Lea, Flood 2014) behind one step of its state.
fn mix(value: u64) -> u64 {
    let mixed = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}
