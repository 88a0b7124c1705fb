//! Packed weights.
#![expect(unsafe_code, reason = "panels are reached by address")]

use std::ops::Range;

use super::arena::Piece;
use super::layout::{PANEL, WeightKind};
use super::pack::unpack_row;
use crate::simd::{Isa, LANES};

/// How the rows of sources become columns of panels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Arrangement {
    /// One after the other.
    Stacked,
    /// Two sources of equal shape, 16 outputs of each in a panel, so that an output of the gate and
    /// its factor are computed together.
    GateUp,
}

/// Weights [N, K], packed, in parts that lie in the arenas they were packed into: part t is read by
/// thread t when as many threads run as there are arenas. Any split computes the same.
#[derive(Debug)]
pub struct Matrix {
    pub(super) kind: WeightKind,
    pub(super) arrangement: Arrangement,
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) parts: Vec<Part>,
    /// One for each column of the panels.
    pub(super) bias: Option<Vec<f32>>,
}

/// Panels that lie one after the other.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) panels: Range<usize>,
    pub(super) memory: Piece,
}

impl Matrix {
    /// What the weights are made of.
    #[must_use]
    pub fn kind(&self) -> WeightKind {
        self.kind
    }

    /// N: outputs, gate and up together.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// K: inputs.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// How outputs are arranged.
    #[must_use]
    pub fn arrangement(&self) -> Arrangement {
        self.arrangement
    }

    /// Panels of 32 outputs.
    #[must_use]
    pub fn num_panels(&self) -> usize {
        num_panels(self.arrangement, self.rows)
    }

    /// Bytes of memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        packed_bytes(self.kind, self.arrangement, self.rows, self.cols)
    }

    /// The panels of one of `threads` threads: those packed into its arena, none where it has none;
    /// all for one alone.
    #[must_use]
    pub fn thread_panels(&self, thread: usize, threads: usize) -> Range<usize> {
        if threads == 1 {
            return 0..self.num_panels();
        }
        let part = self.parts.get(thread);
        part.map_or(0..0, |part| part.panels.clone())
    }

    /// The weights of one output as floats, up to rounding of the rotation where there is one: an
    /// embedding's vector. Rows count through the sources in their order.
    ///
    /// # Panics
    /// When the row is out of range or `out` has another length.
    pub fn row(&self, isa: Isa, row: usize, out: &mut [f32]) {
        assert!(
            row < self.rows && out.len() == self.cols,
            "row {row} of {} x {}",
            self.rows,
            self.cols
        );
        let (panel, column) = position(self.arrangement, self.rows, row);
        let length = self.kind.panel_bytes(self.cols);
        // SAFETY: the panel is whole and packed, and nobody writes it any more.
        let bytes = unsafe { std::slice::from_raw_parts(self.panel(panel), length) };
        unpack_row(isa, self.kind, bytes, column, out);
    }

    /// First byte of a panel.
    ///
    /// # Panics
    /// When there is no such panel.
    #[inline]
    pub(super) fn panel(&self, panel: usize) -> *mut u8 {
        let index = self.parts.partition_point(|part| part.panels.end <= panel);
        let part = &self.parts[index];
        let before = (panel - part.panels.start) * self.kind.panel_bytes(self.cols);
        part.memory.as_ptr().wrapping_add(before)
    }

    pub(super) fn panel_bias(&self, panel: usize) -> Option<&[f32]> {
        let bias = self.bias.as_ref()?;
        Some(&bias[panel * PANEL..][..PANEL])
    }
}

/// Bytes of memory that weights [rows, cols] take once they are packed.
#[must_use]
pub fn packed_bytes(kind: WeightKind, arrangement: Arrangement, rows: usize, cols: usize) -> usize {
    num_panels(arrangement, rows) * kind.panel_bytes(cols)
}

/// Panels of `rows` outputs.
pub(super) fn num_panels(arrangement: Arrangement, rows: usize) -> usize {
    match arrangement {
        Arrangement::Stacked => rows.div_ceil(PANEL),
        Arrangement::GateUp => (rows / 2).div_ceil(LANES),
    }
}

/// Panel and column of an output.
pub(super) fn position(arrangement: Arrangement, rows: usize, row: usize) -> (usize, usize) {
    match arrangement {
        Arrangement::Stacked => (row / PANEL, row % PANEL),
        Arrangement::GateUp => {
            let (half, row) = (row / (rows / 2), row % (rows / 2));
            (row / LANES, half * LANES + row % LANES)
        }
    }
}

/// The output at a column of a panel, if there is one.
pub(super) fn output_at(
    arrangement: Arrangement,
    rows: usize,
    panel: usize,
    column: usize,
) -> Option<usize> {
    match arrangement {
        Arrangement::Stacked => Some(panel * PANEL + column).filter(|&row| row < rows),
        Arrangement::GateUp => {
            let (half, row) = (column / LANES, panel * LANES + column % LANES);
            (row < rows / 2).then_some(half * (rows / 2) + row)
        }
    }
}
