//! One step, as every thread of the team runs it.
//!
//! Rows are split over the threads where each is worked on by itself, panels of outputs where
//! weights are read; in between the threads wait for each other. Every function below ends with the
//! wait that the readers of what it wrote need.
#![expect(unsafe_code, reason = "threads write disjoint parts of one matrix")]

use std::ops::Range;

use super::buffers::{Buffers, Inputs};
use super::model::{Layer, Model, Projection};
use super::plan::Plan;
use super::rows::Rows;
use super::spec::QkNorm;
use crate::attention::{AttentionPlan, LayerAttention, Pages, Scratch, SequenceRows, write_kv};
use crate::matmul::{Join, multiply};
use crate::norm::{rms_norm, rms_norm_in_place};
use crate::rope;
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
    /// [threads + 1] borders of the rows: no two tokens that share a cell of V are apart.
    pub(super) row_borders: &'a [usize],
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
        self.embed(member);
        for (index, layer) in self.model.layers.iter().enumerate() {
            self.attend(member, index, layer);
            self.feed_forward(member, layer);
        }
        self.logits(member);
    }

    /// Each thread copies its slice of every page, so that chains of copies keep their order.
    fn copy_pages(&self, member: &Member<'_>) {
        let share = member.share(self.pages.layout().page_bytes(), 64);
        for pair in self.plan.copies.as_chunks::<2>().0 {
            // SAFETY: the plan's page ids are checked, and each thread has its own bytes.
            unsafe {
                self.pages
                    .copy(pair[0] as usize, pair[1] as usize, share.clone())
            };
        }
    }

    fn embed(&self, member: &Member<'_>) {
        let (model, spec) = (self.model, &self.model.spec);
        for row in self.rows(member) {
            // SAFETY: rows are this thread's own until the wait.
            let hidden = unsafe { self.buffers.hidden.row_mut(row) };
            model
                .embedding()
                .row(model.isa, self.plan.tokens[row] as usize, hidden);
            if spec.embedding_multiplier != 1.0 {
                hidden
                    .iter_mut()
                    .for_each(|x| *x *= spec.embedding_multiplier);
            }
            for (index, rope) in spec.ropes.iter().enumerate() {
                // SAFETY: as above.
                let angles = unsafe { self.buffers.angles[index].row_mut(row) };
                let (cosines, sines) = angles.split_at_mut(rope.frequencies.len());
                let (position, factor) = (self.positions[row], rope.attention_factor);
                rope::angles(position, &rope.frequencies, factor, cosines, sines);
            }
        }
        member.wait();
    }

    fn attend(&self, member: &Member<'_>, index: usize, layer: &Layer) {
        let buffers = self.buffers;
        self.quantize_hidden(member, layer.pre_attention.as_deref(), &buffers.hidden_in);
        let (qkv, projection) = (&buffers.qkv, &layer.qkv);
        self.project(member, projection, &buffers.hidden_in, (qkv, Join::Store));
        self.write_keys_and_values(member, index, layer);
        self.attend_layer(member, index, layer);
        self.quantize_rows(member, &buffers.query_in, &buffers.attended);
        self.add(
            member,
            &layer.output,
            &buffers.query_in,
            layer.post_attention.as_deref(),
        );
    }

    fn attend_layer(&self, member: &Member<'_>, index: usize, layer: &Layer) {
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
        member.wait();
    }

    /// Normalises and turns queries and keys, and stores keys and values in their pages.
    fn write_keys_and_values(&self, member: &Member<'_>, index: usize, layer: &Layer) {
        let spec = &self.model.spec;
        let rows = self.rows(member);
        for row in rows.clone() {
            // SAFETY: rows are this thread's own until the wait.
            let qkv = unsafe { self.buffers.qkv.row_mut(row) };
            let (queries, shared) = qkv.split_at_mut(spec.query_size());
            let keys = &mut shared[..spec.kv_size()];
            self.prepare_heads(row, layer, queries, layer.q_norm.as_deref());
            self.prepare_heads(row, layer, keys, layer.k_norm.as_deref());
        }
        let keys = spec.query_size();
        // SAFETY: these rows are written, and no other thread has them nor one that shares a cell.
        unsafe {
            let kv = [keys, keys + spec.kv_size()].map(|offset| self.buffers.qkv.cells(offset));
            write_kv(
                self.model.isa,
                (self.pages, index),
                self.sequences,
                rows,
                kv,
            );
        }
        member.wait();
    }

    fn prepare_heads(&self, row: usize, layer: &Layer, heads: &mut [f32], norm: Option<&[f32]>) {
        let (spec, isa) = (&self.model.spec, self.model.isa);
        if let (QkNorm::Projection, Some(weight)) = (spec.qk_norm, norm) {
            rms_norm_in_place(isa, heads, weight, spec.norm_eps);
        }
        for head in heads.chunks_exact_mut(spec.head_dim) {
            if let (QkNorm::Head, Some(weight)) = (spec.qk_norm, norm) {
                rms_norm_in_place(isa, head, weight, spec.norm_eps);
            }
            if let Some(index) = layer.rope {
                // SAFETY: written in `embed` alone.
                let angles = unsafe { self.buffers.angles[index].row(row) };
                let (cosines, sines) = angles.split_at(angles.len() / 2);
                rope::rotate(isa, head, cosines, sines);
            }
        }
    }

    fn feed_forward(&self, member: &Member<'_>, layer: &Layer) {
        let (buffers, model) = (self.buffers, self.model);
        self.quantize_hidden(member, layer.pre_mlp.as_deref(), &buffers.hidden_in);
        let to = (&buffers.inner, Join::Gated(model.activation()));
        self.project(member, &layer.gate_up, &buffers.hidden_in, to);
        self.quantize_rows(member, &buffers.inner_in, &buffers.inner);
        self.add(
            member,
            &layer.down,
            &buffers.inner_in,
            layer.post_mlp.as_deref(),
        );
    }

    fn logits(&self, member: &Member<'_>) {
        let (buffers, model) = (self.buffers, self.model);
        if self.plan.sample_rows.is_empty() {
            return;
        }
        for index in member.share(self.plan.sample_rows.len(), 1) {
            let row = self.plan.sample_rows[index] as usize;
            self.quantize_normed(row, index, Some(&model.norm), &buffers.sampled_in);
        }
        member.wait();
        let to = (&buffers.logits, Join::Store);
        self.project(member, &model.head, &buffers.sampled_in, to);
    }

    /// The hidden states, normalised if there is a norm, as input of a projection.
    fn quantize_hidden(&self, member: &Member<'_>, norm: Option<&[f32]>, to: &Inputs) {
        for row in self.rows(member) {
            self.quantize_normed(row, row, norm, to);
        }
        member.wait();
    }

    fn quantize_normed(&self, row: usize, to_row: usize, norm: Option<&[f32]>, to: &Inputs) {
        let (spec, isa) = (&self.model.spec, self.model.isa);
        // SAFETY: hidden states change behind waits alone, and rows are this thread's own.
        unsafe {
            let hidden = self.buffers.hidden.row(row);
            match norm {
                Some(weight) => {
                    let normed = self.buffers.normed.row_mut(to_row);
                    rms_norm(isa, hidden, weight, spec.norm_eps, normed);
                    to.quantize(to_row, normed);
                }
                None => to.quantize(to_row, hidden),
            }
        }
    }

    fn quantize_rows(&self, member: &Member<'_>, to: &Inputs, from: &Rows) {
        for row in self.rows(member) {
            // SAFETY: `from` is complete, and rows are this thread's own.
            unsafe { to.quantize(row, from.row(row)) };
        }
        member.wait();
    }

    /// Adds a projection to the hidden states, normalised if there is a norm.
    fn add(
        &self,
        member: &Member<'_>,
        projection: &Projection,
        from: &Inputs,
        norm: Option<&[f32]>,
    ) {
        let (buffers, spec) = (self.buffers, &self.model.spec);
        let factor = spec.residual_multiplier;
        let Some(weight) = norm else {
            let to = (&buffers.hidden, Join::Add { factor });
            return self.project(member, projection, from, to);
        };
        self.project(member, projection, from, (&buffers.normed, Join::Store));
        for row in self.rows(member) {
            // SAFETY: rows are this thread's own until the wait.
            let (added, hidden) =
                unsafe { (buffers.normed.row_mut(row), buffers.hidden.row_mut(row)) };
            rms_norm_in_place(self.model.isa, added, weight, spec.norm_eps);
            for (x, added) in hidden.iter_mut().zip(added) {
                *x += factor * *added;
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

    fn project(
        &self,
        member: &Member<'_>,
        projection: &Projection,
        from: &Inputs,
        (to, join): (&Rows, Join),
    ) {
        for part in &projection.parts {
            let input = from.of(part.matrix.kind().activations());
            let panels = part.matrix.thread_panels(member.index());
            // SAFETY: the input is complete, and each thread writes the columns of its panels.
            unsafe {
                let output = to.output(part.first_output, join);
                multiply(self.model.isa, &part.matrix, input, panels, &output);
            }
        }
        member.wait();
    }

    fn rows(&self, member: &Member<'_>) -> Range<usize> {
        self.row_borders[member.index()]..self.row_borders[member.index() + 1]
    }
}
