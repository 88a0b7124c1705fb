//! What a request asks to change in a row of logits: allowed tokens, biases, penalties.
#![expect(unsafe_code, reason = "vector reads and writes by address")]

use crate::simd::{Isa, Kernel, LANES, Simd};

/// A row of logits that is being changed, and what it was.
///
/// Only finite logits change and they stay finite, but for those that a mask forbids: what is
/// possible stays possible, also next to the largest floats.
#[derive(Debug)]
pub(super) struct Edit<'a> {
    logits: &'a mut [f32],
    /// Changed tokens and their first logits; those of forbidden tokens are lost.
    originals: Vec<(u32, f32)>,
    is_masked: bool,
}

impl<'a> Edit<'a> {
    pub(super) fn new(logits: &'a mut [f32]) -> Self {
        Self {
            logits,
            originals: Vec::new(),
            is_masked: false,
        }
    }

    /// Forbids the tokens whose bit is 0: bit `id % 32` of word `id / 32`.
    pub(super) fn allow(&mut self, isa: Isa, mask: &[u32]) {
        self.is_masked = true;
        isa.run(Forbid {
            logits: self.logits,
            mask,
        });
    }

    /// Gives a token a new logit, made from the one it has.
    pub(super) fn change(&mut self, token: u32, change: impl FnOnce(f32) -> f32) {
        let logit = &mut self.logits[token as usize];
        if logit.is_finite() {
            self.originals.push((token, *logit));
            *logit = change(*logit).clamp(f32::MIN, f32::MAX);
        }
    }

    /// The row as it is now.
    pub(super) fn logits(&self) -> &[f32] {
        self.logits
    }

    /// Whether the row may differ from what it was.
    pub(super) fn is_changed(&self) -> bool {
        self.is_masked || !self.originals.is_empty()
    }

    /// The logit that an allowed token had.
    pub(super) fn original(&self, token: u32) -> f32 {
        let changed = self.originals.iter().find(|&&(id, _)| id == token);
        changed.map_or(self.logits[token as usize], |&(_, logit)| logit)
    }
}

struct Forbid<'a> {
    logits: &'a mut [f32],
    mask: &'a [u32],
}

impl Kernel for Forbid<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let never = S::splat(f32::NEG_INFINITY);
        let halves = self
            .mask
            .iter()
            .flat_map(|&word| [word as u16, (word >> 16) as u16]);
        for (logits, allowed) in self.logits.chunks_mut(LANES).zip(halves) {
            let count = logits.len();
            // SAFETY: `count` logits, at most 16, are read and written.
            unsafe {
                let kept = S::select(allowed, S::load_first(logits.as_ptr(), count), never);
                S::store_first(logits.as_mut_ptr(), kept, count);
            }
        }
    }
}
