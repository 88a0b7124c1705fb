//! One step, as every thread of the team runs it.
//!
//! Between the layers' attention, which is split by itself, threads share the rows in one of two
//! ways. Of few rows all are computed *together*: rows are split where each is worked on by itself,
//! panels of outputs where weights are read, and in between the threads wait for each other. Of many
//! rows each thread computes its own *apart*, in runs whose states its cache keeps from one operation
//! to the next, and waits for nobody before attention.
#![expect(unsafe_code, reason = "threads write disjoint parts of one matrix")]

use std::sync::PoisonError;

use super::buffers::Buffers;
use super::group::Group;
use super::model::{Layer, Model};
use super::plan::Plan;
use super::split::RowSplit;
use crate::attention::{AttentionPlan, LayerAttention, Pages, Scratch, SequenceRows};
use crate::matmul::Join;
use crate::norm::Norm;
use crate::threads::Member;

/// What the threads of a step share.
pub(super) struct Step<'a> {
    pub(super) model: &'a Model,
    pub(super) plan: &'a Plan<'a>,
    pub(super) buffers: &'a Buffers,
    pub(super) scratch: &'a Scratch,
    pub(super) pages: &'a Pages,
    pub(super) sequences: &'a [SequenceRows<'a>],
    /// [T]
    pub(super) positions: &'a [u32],
    pub(super) split: &'a RowSplit,
    /// One for each window that layers have.
    pub(super) attention: &'a [AttentionPlan],
}

impl Step<'_> {
    /// Computes the step up to the logits of the plan's sample rows.
    pub(super) fn run(&self, member: &Member<'_>) {
        self.copy_pages(member);
        if self.plan.tokens.is_empty() {
            return;
        }
        if self.split.is_apart() {
            self.run_apart(member);
        } else {
            self.run_together(member);
        }
        self.logits(member);
    }

    /// Each thread copies its slice of every page, so that chains of copies keep their order.
    fn copy_pages(&self, member: &Member<'_>) {
        if self.plan.copies.is_empty() {
            return;
        }
        let share = member.share(self.pages.layout().page_bytes(), 64);
        for pair in self.plan.copies.as_chunks::<2>().0 {
            // SAFETY: the plan's page ids are checked, and each thread has its own bytes.
            unsafe {
                self.pages
                    .copy(pair[0] as usize, pair[1] as usize, share.clone())
            };
        }
        member.wait();
    }

    fn run_together(&self, member: &Member<'_>) {
        let group = Group {
            step: self,
            member,
            rows: 0..self.plan.tokens.len(),
            own: self.split.thread_rows(member.index()),
            work: &self.buffers.shared,
        };
        self.run_layers(member, |compute| compute(&group));
    }

    fn run_apart(&self, member: &Member<'_>) {
        let alone = member.alone();
        let work = &self.buffers.apart[member.index()];
        // What a thread left that failed is written anew.
        let mut work = work.lock().unwrap_or_else(PoisonError::into_inner);
        self.run_layers(member, |compute| {
            for rows in self.split.thread_runs(member.index()) {
                work.resize(rows.len());
                compute(&Group {
                    step: self,
                    member: &alone,
                    rows: rows.clone(),
                    own: rows,
                    work: &work,
                });
            }
        });
    }

    /// `each` has this thread's groups do what it is given.
    fn run_layers(&self, member: &Member<'_>, mut each: impl FnMut(&dyn Fn(&Group<'_>))) {
        let layers = &self.model.layers;
        each(&|group| {
            group.embed();
            group.before_attention(0, &layers[0]);
        });
        for (index, layer) in layers.iter().enumerate() {
            member.wait();
            self.attend(member, index, layer);
            member.wait();
            each(&|group| {
                group.after_attention(layer);
                if let Some(next) = layers.get(index + 1) {
                    group.before_attention(index + 1, next);
                }
            });
        }
        member.wait();
    }

    fn attend(&self, member: &Member<'_>, index: usize, layer: &Layer) {
        let (spec, isa) = (&self.model.spec, self.model.isa);
        let attention = LayerAttention {
            plan: &self.attention[layer.window],
            pages: self.pages,
            layer: index,
            scale: spec.attention_scale,
            softcap: spec.attention_softcap,
            scratch: self.scratch,
        };
        // SAFETY: all of q, keys and values is written, and `attended` is the plan's to split.
        unsafe {
            let out = self.buffers.attended.cells_mut();
            attention.attend(isa, member.index(), self.buffers.qkv.cells(0), out);
            if attention.plan.needs_fold() {
                member.wait();
                attention.fold(isa, member.index(), out);
            }
        }
    }

    fn logits(&self, member: &Member<'_>) {
        let (buffers, model, rows) = (self.buffers, self.model, self.plan.sample_rows);
        if rows.is_empty() {
            return;
        }
        let norm = Norm {
            weight: &model.norm,
            eps: model.spec.norm_eps,
        };
        // SAFETY: hidden states are complete, and each sample row is one thread's.
        unsafe {
            let hidden = |index: usize| buffers.hidden.row(rows[index] as usize);
            let share = member.share(rows.len(), 1);
            buffers.sampled_in.quantize(share, Some(norm), hidden);
        }
        member.wait();
        for part in &model.head.parts {
            // SAFETY: the input is complete, and each thread writes the columns of its panels.
            unsafe {
                let output = buffers.logits.output(0, part.first_output, Join::Store);
                part.multiply(model.isa, member, &buffers.sampled_in, &output);
            }
        }
        member.wait();
    }

    /// The logits of a sample row as the sampler wants them.
    ///
    /// # Safety
    /// All threads have left `run`, and no other thread has this row.
    #[expect(
        clippy::mut_from_ref,
        reason = "the caller's promise makes it the only one"
    )]
    pub(super) unsafe fn finish_logits(&self, index: usize) -> &mut [f32] {
        let spec = &self.model.spec;
        // SAFETY: the caller's promise.
        let logits = unsafe { self.buffers.logits.row_mut(index) };
        if spec.logit_multiplier != 1.0 {
            logits.iter_mut().for_each(|x| *x *= spec.logit_multiplier);
        }
        if let Some(cap) = spec.logit_softcap {
            logits.iter_mut().for_each(|x| *x = cap * (*x / cap).tanh());
        }
        logits
    }
}
