//! What a layer does beside attention, for rows that some threads compute together.
//!
//! Every function ends with the wait that the readers of what it wrote need; one thread alone waits
//! for nobody.
#![expect(unsafe_code, reason = "threads write disjoint parts of one matrix")]

use std::ops::Range;

use super::buffers::{Inputs, Work};
use super::forward::Step;
use super::model::{Layer, Projection};
use super::rows::Rows;
use super::spec::QkNorm;
use crate::attention::write_kv;
use crate::matmul::Join;
use crate::norm::{Norm, rms_norm};
use crate::rope;
use crate::threads::Member;

/// One thread's view of rows that some threads compute together: all of a step's, or its own.
pub(super) struct Group<'a> {
    pub(super) step: &'a Step<'a>,
    /// This thread among those.
    pub(super) member: &'a Member<'a>,
    /// The rows, counted among the step's.
    pub(super) rows: Range<usize>,
    /// Those that this thread works on where rows are split: no two tokens that share a cell of V
    /// are apart.
    pub(super) own: Range<usize>,
    /// Its row 0 is the first of `rows`.
    pub(super) work: &'a Work,
}

impl Group<'_> {
    /// Looks up the tokens' vectors and the angles of their positions.
    pub(super) fn embed(&self) {
        let Step { model, buffers, .. } = *self.step;
        let spec = &model.spec;
        for row in self.own.clone() {
            // SAFETY: rows are this thread's own until the wait.
            let hidden = unsafe { buffers.hidden.row_mut(row) };
            let token = self.step.plan.tokens[row] as usize;
            model.embedding().row(model.isa, token, hidden);
            if spec.embedding_multiplier != 1.0 {
                hidden
                    .iter_mut()
                    .for_each(|x| *x *= spec.embedding_multiplier);
            }
            for (index, rope) in spec.ropes.iter().enumerate() {
                // SAFETY: as above.
                let angles = unsafe { buffers.angles[index].row_mut(row) };
                let (cosines, sines) = angles.split_at_mut(rope.frequencies.len());
                let (position, factor) = (self.step.positions[row], rope.attention_factor);
                rope::angles(position, &rope.frequencies, factor, cosines, sines);
            }
        }
        self.member.wait();
    }

    /// Computes queries, keys and values, and stores the latter two in their pages. The readers'
    /// wait is left to the caller.
    pub(super) fn before_attention(&self, index: usize, layer: &Layer) {
        let qkv = &self.step.buffers.qkv;
        let input = &self.work.hidden_in;
        self.quantize_hidden(layer.pre_attention.as_deref(), input);
        self.project(&layer.qkv, input, (qkv, self.rows.start, Join::Store));
        for row in self.own.clone() {
            // SAFETY: rows are this thread's own until the wait.
            self.prepare_heads(row, layer, unsafe { qkv.row_mut(row) });
        }
        self.write_keys_and_values(index);
    }

    /// Adds what attention gives, and the feed-forward layer.
    pub(super) fn after_attention(&self, layer: &Layer) {
        let (work, buffers) = (self.work, self.step.buffers);
        self.quantize(&work.query_in, None, (&buffers.attended, self.rows.start));
        self.add(
            &layer.output,
            &work.query_in,
            layer.post_attention.as_deref(),
        );

        self.quantize_hidden(layer.pre_mlp.as_deref(), &work.hidden_in);
        let join = Join::Gated(self.step.model.activation());
        self.project(&layer.gate_up, &work.hidden_in, (&work.inner, 0, join));
        self.quantize(&work.inner_in, None, (&work.inner, 0));
        self.add(&layer.down, &work.inner_in, layer.post_mlp.as_deref());
    }

    /// Normalises and turns the queries and keys of a row.
    fn prepare_heads(&self, row: usize, layer: &Layer, qkv: &mut [f32]) {
        let (spec, isa) = (&self.step.model.spec, self.step.model.isa);
        let queries_and_keys = &mut qkv[..spec.query_size() + spec.kv_size()];
        let (queries, keys) = queries_and_keys.split_at_mut(spec.query_size());
        for (heads, weight) in [(queries, &layer.q_norm), (keys, &layer.k_norm)] {
            let Some(norm) = self.norm(weight.as_deref()) else {
                continue;
            };
            match spec.qk_norm {
                QkNorm::None => {}
                QkNorm::Projection => rms_norm(isa, heads, norm),
                QkNorm::Head => {
                    for head in heads.chunks_exact_mut(spec.head_dim) {
                        rms_norm(isa, head, norm);
                    }
                }
            }
        }
        if let Some(index) = layer.rope {
            // SAFETY: written in `embed` alone.
            let angles = unsafe { self.step.buffers.angles[index].row(row) };
            let (cosines, sines) = angles.split_at(angles.len() / 2);
            rope::rotate(isa, queries_and_keys, spec.head_dim, cosines, sines);
        }
    }

    fn write_keys_and_values(&self, layer: usize) {
        let Step { model, buffers, .. } = *self.step;
        let (keys, kv_size) = (model.spec.query_size(), model.spec.kv_size());
        // SAFETY: these rows are written, and no other thread has them nor one that shares a cell.
        unsafe {
            write_kv(
                model.isa,
                (self.step.pages, layer),
                self.step.sequences,
                self.own.clone(),
                [keys, keys + kv_size].map(|offset| buffers.qkv.cells(offset)),
            );
        }
    }

    fn norm<'w>(&self, weight: Option<&'w [f32]>) -> Option<Norm<'w>> {
        let eps = self.step.model.spec.norm_eps;
        weight.map(|weight| Norm { weight, eps })
    }

    /// The hidden states, normalised if there is a norm, as input of a projection.
    fn quantize_hidden(&self, norm: Option<&[f32]>, to: &Inputs) {
        let hidden = &self.step.buffers.hidden;
        self.quantize(to, self.norm(norm), (hidden, self.rows.start));
    }

    /// Packs rows of `from`, whose row `first` is the first of the group.
    fn quantize(&self, to: &Inputs, norm: Option<Norm<'_>>, (from, first): (&Rows, usize)) {
        let own = self.own.start - self.rows.start..self.own.end - self.rows.start;
        // SAFETY: `from` is complete, and rows are this thread's own.
        unsafe { to.quantize(own, norm, |row| from.row(first + row)) };
        self.member.wait();
    }

    /// Adds a projection to the hidden states, normalised if there is a norm.
    fn add(&self, projection: &Projection, from: &Inputs, norm: Option<&[f32]>) {
        let Step { model, buffers, .. } = *self.step;
        let factor = model.spec.residual_multiplier;
        let Some(norm) = self.norm(norm) else {
            let to = (&buffers.hidden, self.rows.start, Join::Add { factor });
            return self.project(projection, from, to);
        };
        let added = &self.work.added;
        self.project(projection, from, (added, 0, Join::Store));
        for row in self.own.clone() {
            // SAFETY: rows are this thread's own until the wait.
            let (added, hidden) = unsafe {
                let added = added.row_mut(row - self.rows.start);
                (added, buffers.hidden.row_mut(row))
            };
            rms_norm(model.isa, added, norm);
            for (x, added) in hidden.iter_mut().zip(added) {
                *x += factor * *added;
            }
        }
        self.member.wait();
    }

    /// Writes a projection to the rows of `to` from `first` on.
    fn project(
        &self,
        projection: &Projection,
        from: &Inputs,
        (to, first, join): (&Rows, usize, Join),
    ) {
        for part in &projection.parts {
            // SAFETY: the input is complete, and each thread writes the columns of its panels.
            unsafe {
                let output = to.output(first, part.first_output, join);
                part.multiply(self.step.model.isa, self.member, from, &output);
            }
        }
        self.member.wait();
    }
}
