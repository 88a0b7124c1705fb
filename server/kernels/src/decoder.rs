//! A whole decoder: a step's tokens in, drawn tokens out.
//!
//! One call computes a step: the threads of a [`Team`] run all of it together ([`forward`]). The
//! logits of a token are a pure function of model, packed weights and the tokens before it, to the
//! bit, on one instruction set: every part below keeps that.
#![expect(unsafe_code, reason = "reads rows that its threads have written")]

mod buffers;
mod choice;
mod error;
mod forward;
mod group;
mod load;
mod model;
mod outline;
mod plan;
mod rows;
mod spec;
mod split;
#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;
use std::sync::OnceLock;

use self::buffers::Buffers;
pub use self::choice::WeightChoice;
pub use self::error::{LoadError, StepError};
use self::forward::Step;
pub use self::load::Tensors;
use self::model::Model;
pub use self::outline::{Kinds, Outline};
pub use self::plan::{Bounds, Plan, PlanError};
pub use self::spec::{Activation, QkNorm, Rope, Spec};
use self::split::RowSplit;
use crate::attention::{AttentionPlan, KvKind, KvLayout, PAGE_TOKENS, Pages, PlanShape, Scratch};
use crate::sampler::{Draws, Sample, Sampler, Score};
use crate::simd::Isa;
use crate::threads::{Member, Team};

/// How a decoder runs.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// What weights are packed to.
    pub weights: WeightChoice,
    /// How keys and values are kept.
    pub kv: KvKind,
    /// Compute threads.
    pub num_threads: NonZeroUsize,
    /// The instruction set; this processor has it.
    pub isa: Isa,
    /// Whether sequences that begin with the same pages read them together; changes no result.
    pub sharing: bool,
}

/// A model, its threads and the memory of its steps.
#[derive(Debug)]
pub struct Decoder {
    model: Model,
    layout: KvLayout,
    sharing: bool,
    team: Team,
    buffers: Buffers,
    scratch: Scratch,
    bound: Option<Bound>,
}

/// What a step computes in.
#[derive(Debug)]
struct Bound {
    pages: Pages,
    sampler: Sampler,
}

impl Decoder {
    /// Packs the weights. `progress` is told after each layer how many of all are packed.
    ///
    /// # Errors
    /// When description and tensors do not belong together, or hold what is no number.
    pub fn load(
        spec: Spec,
        tensors: &Tensors<'_>,
        options: Options,
        progress: impl FnMut(usize, usize),
    ) -> Result<Self, LoadError> {
        let layout = check(&spec, options.kv)?;
        let mut team = Team::new(options.num_threads)?;
        let model = Model::load(spec, tensors, &options, &mut team, progress)?;
        Ok(Self {
            buffers: Buffers::new(&model, team.count()),
            scratch: Scratch::new(&layout, team.count()),
            sharing: options.sharing,
            bound: None,
            model,
            layout,
            team,
        })
    }

    /// The inside of a page.
    #[must_use]
    pub fn layout(&self) -> &KvLayout {
        &self.layout
    }

    /// The instruction set.
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.model.isa
    }

    /// Compute threads.
    #[must_use]
    pub fn num_threads(&self) -> usize {
        self.team.count()
    }

    /// Bytes of packed weights.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        self.model.bytes()
    }

    /// What the weights are, for people to read: such as "int4 g32 + int8 g32 head".
    #[must_use]
    pub fn weights(&self) -> String {
        let (layers, head) = self.model.kinds();
        model::kinds_text(&layers, &head)
    }

    /// Takes the pages to compute in and makes the sampler.
    ///
    /// # Panics
    /// When the pages have another layout.
    pub fn bind(&mut self, pages: Pages, num_slots: usize) {
        assert!(*pages.layout() == self.layout, "pages of another layout");
        let (vocab_size, isa) = (self.model.spec.vocab_size, self.model.isa);
        self.bound = Some(Bound {
            pages,
            sampler: Sampler::with_isa(vocab_size, num_slots, isa),
        });
    }

    /// Lets go of the pages.
    pub fn unbind(&mut self) {
        self.bound = None;
    }

    /// The sampler, to open slots in.
    ///
    /// # Errors
    /// [`StepError::Unbound`].
    pub fn sampler(&mut self) -> Result<&mut Sampler, StepError> {
        Ok(&mut self.bound.as_mut().ok_or(StepError::Unbound)?.sampler)
    }

    /// Computes a step, draws a token from each of its first sample rows and scores one in each of
    /// the others.
    ///
    /// # Errors
    /// When plan, draws or scores are refused, or a thread fails.
    pub fn step(
        &mut self,
        plan: &Plan<'_>,
        draws: &Draws<'_>,
        scores: &[Score],
    ) -> Result<Vec<Sample>, StepError> {
        let positions = self.check(plan)?;
        let bound = self.bound.as_ref().ok_or(StepError::Unbound)?;
        let drawn = draws.slots.len();
        let count = drawn + scores.len();
        if count != plan.sample_rows.len() {
            return Err(StepError::SampleRows {
                slots: count,
                rows: plan.sample_rows.len(),
            });
        }
        let next = |&row: &i32| positions[row as usize] + 1;
        let next: Vec<u32> = plan.sample_rows[..drawn].iter().map(next).collect();
        let rows = draws.rows(&next, bound.sampler.mask_words())?;
        bound.sampler.check(&rows)?;
        bound.sampler.check_scores(scores)?;
        let results: Vec<_> = (0..count).map(|_| OnceLock::new()).collect();
        self.compute(plan, &positions, |step, sampler, member| {
            for index in member.share(count, 1) {
                // SAFETY: the logits are complete, and each row is one thread's.
                let logits = unsafe { step.finish_logits(index) };
                let sample = match rows.get(index) {
                    Some(row) => sampler.draw(*row, logits),
                    None => sampler.score(scores[index - drawn], logits),
                };
                // Each is set once: rows are split over the threads.
                let _ = results[index].set(sample);
            }
        })?;
        let samples = results
            .into_iter()
            .map(|sample| sample.into_inner().expect("every row is some thread's"))
            .collect::<Result<Vec<_>, _>>()?;
        self.sampler()?.commit(&rows, &samples)?;
        Ok(samples)
    }

    /// Computes a step and gives the logits of its sample rows, [R, vocabulary].
    ///
    /// # Errors
    /// When the plan is refused, or a thread fails.
    pub fn logits(&mut self, plan: &Plan<'_>) -> Result<Vec<f32>, StepError> {
        let positions = self.check(plan)?;
        self.compute(plan, &positions, |step, _, member| {
            for index in member.share(plan.sample_rows.len(), 1) {
                // SAFETY: the logits are complete, and each row is one thread's.
                unsafe { step.finish_logits(index) };
            }
        })?;
        let rows = 0..plan.sample_rows.len();
        // SAFETY: no thread computes any more.
        Ok(rows
            .flat_map(|row| unsafe { self.buffers.logits.row(row) })
            .copied()
            .collect())
    }

    /// Checks a plan against model and pages; gives the position of each token.
    fn check(&self, plan: &Plan<'_>) -> Result<Vec<u32>, StepError> {
        let bound = self.bound.as_ref().ok_or(StepError::Unbound)?;
        let spec = &self.model.spec;
        plan.check(Bounds {
            vocab_size: spec.vocab_size,
            num_pages: bound.pages.count(),
            page_tokens: PAGE_TOKENS,
            max_positions: spec.max_positions,
        })?;
        Ok(plan.positions())
    }

    /// Runs a checked step on all threads; `finish` ends it on each.
    fn compute(
        &mut self,
        plan: &Plan<'_>,
        positions: &[u32],
        finish: impl Fn(&Step<'_>, &Sampler, &Member<'_>) + Sync,
    ) -> Result<(), StepError> {
        let bound = self.bound.as_ref().ok_or(StepError::Unbound)?;
        let (tokens, sequences) = (plan.tokens.len(), plan.sequences().collect::<Vec<_>>());
        let split = RowSplit::new(&sequences, tokens, self.team.count());
        let together = if split.is_apart() { 0 } else { tokens };
        self.buffers
            .resize(tokens, together, plan.sample_rows.len());
        let attention = self
            .model
            .windows
            .iter()
            .map(|&window| AttentionPlan::new(&sequences, self.plan_shape(&bound.pages, window)))
            .collect::<Result<Vec<_>, _>>()?;
        attention.iter().for_each(|plan| self.scratch.prepare(plan));
        let step = Step {
            model: &self.model,
            plan,
            buffers: &self.buffers,
            scratch: &self.scratch,
            pages: &bound.pages,
            split: &split,
            sequences: &sequences,
            positions,
            attention: &attention,
        };
        self.team.run(|member| {
            step.run(member);
            finish(&step, &bound.sampler, member);
        })?;
        Ok(())
    }

    fn plan_shape(&self, pages: &Pages, window: Option<usize>) -> PlanShape {
        PlanShape {
            num_heads: self.model.spec.num_heads,
            num_kv_heads: self.model.spec.num_kv_heads,
            num_pages: pages.count(),
            window,
            num_threads: self.team.count(),
            sharing: self.sharing,
        }
    }
}

/// Refuses what cannot be loaded whatever the weights are, heads among it that every step's plan
/// would be refused for. Gives the inside of a page.
fn check(spec: &Spec, kv: KvKind) -> Result<KvLayout, LoadError> {
    spec.check().map_err(LoadError::Spec)?;
    let layout = KvLayout::new(kv, spec.num_layers, spec.num_kv_heads, spec.head_dim)?;
    let shape = PlanShape {
        num_heads: spec.num_heads,
        num_kv_heads: spec.num_kv_heads,
        num_pages: 0,
        window: None,
        num_threads: 1,
        sharing: false,
    };
    AttentionPlan::new(&[], shape)?;
    Ok(layout)
}
