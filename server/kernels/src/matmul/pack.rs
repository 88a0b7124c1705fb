//! Packing of weights, by as many threads as like to take part.
#![expect(unsafe_code, reason = "threads write their panels of one buffer")]

mod encode;
mod quantize;
#[cfg(test)]
mod tests;
mod tile;

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

pub use self::quantize::{QuantizeError, quantize};
use self::tile::Column;
pub(super) use self::tile::unpack_row;
use super::arena::Arena;
use super::layout::{PANEL, WeightKind};
use super::matrix::{Arrangement, Matrix, Part, num_panels, output_at, position};
use super::source::Source;
use crate::simd::Isa;

/// Weights on their way into panels.
#[derive(Debug)]
pub struct Packing<'a> {
    sources: Vec<Source<'a>>,
    matrix: Matrix,
    /// Panels that a call has taken.
    taken: Vec<AtomicBool>,
    /// Panels that are done.
    done: Vec<AtomicBool>,
}

/// Why weights cannot be packed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// There is nothing to pack, or no arena to pack it into.
    #[error("no weights, or no arena to pack them into")]
    Empty,
    /// Sources disagree on their inputs.
    #[error("source {index} has {found} columns, the first has {expected}")]
    Columns {
        /// Which source.
        index: usize,
        /// Its columns.
        found: usize,
        /// The first one's.
        expected: usize,
    },
    /// Gate and up are not two of a size.
    #[error("gate and up are two sources of as many rows, not of {0:?}")]
    GateUp(Vec<usize>),
    /// A weight or scale is not finite, or not in the range of the format it is packed to.
    #[error("row {row} of source {index} has a weight or scale that is not finite")]
    NotFinite {
        /// Which source.
        index: usize,
        /// Which of its rows.
        row: usize,
    },
    /// Not every panel was packed.
    #[error("panel {0} was not packed")]
    Unpacked(usize),
    /// A bias of another length, or one that is not finite.
    #[error("a bias of {found} finite values for {expected} outputs")]
    Bias {
        /// Finite values given.
        found: usize,
        /// Outputs.
        expected: usize,
    },
}

impl<'a> Packing<'a> {
    /// Takes memory for the weights of `sources`, stacked by rows, from one arena a thread.
    ///
    /// # Errors
    /// When the shapes do not belong together.
    pub fn new(
        kind: WeightKind,
        sources: &[Source<'a>],
        arrangement: Arrangement,
        arenas: &mut [Arena],
    ) -> Result<Self, PackError> {
        check(sources, arrangement)?;
        let rows = sources.iter().map(Source::rows).sum();
        let cols = sources.first().map_or(0, Source::cols);
        if rows == 0 || cols == 0 || arenas.is_empty() {
            return Err(PackError::Empty);
        }
        let panels = num_panels(arrangement, rows);
        let count = arenas.len();
        let take = |(thread, arena): (usize, &mut Arena)| {
            let panels = panels * thread / count..panels * (thread + 1) / count;
            let memory = arena.take(panels.len() * kind.panel_bytes(cols));
            Part { panels, memory }
        };
        Ok(Self {
            sources: sources.to_vec(),
            matrix: Matrix {
                kind,
                arrangement,
                rows,
                cols,
                parts: arenas.iter_mut().enumerate().map(take).collect(),
                bias: None,
            },
            taken: (0..panels).map(|_| AtomicBool::new(false)).collect(),
            done: (0..panels).map(|_| AtomicBool::new(false)).collect(),
        })
    }

    /// The matrix to be, for its shape and its split over threads.
    #[must_use]
    pub fn matrix(&self) -> &Matrix {
        &self.matrix
    }

    /// Packs those of the panels that no other call has taken.
    ///
    /// # Errors
    /// [`PackError::NotFinite`].
    ///
    /// # Panics
    /// When there are not so many panels.
    pub fn pack(&self, isa: Isa, panels: Range<usize>) -> Result<(), PackError> {
        let mut column = Column::new(isa, self.matrix.kind, self.matrix.cols);
        for panel in panels {
            if !self.taken[panel].swap(true, Ordering::Relaxed) {
                self.pack_panel(panel, &mut column)?;
                self.done[panel].store(true, Ordering::Release);
            }
        }
        Ok(())
    }

    fn pack_panel(&self, panel: usize, packed: &mut Column) -> Result<(), PackError> {
        let matrix = &self.matrix;
        let (address, length) = (matrix.panel(panel), matrix.kind.panel_bytes(matrix.cols));
        // SAFETY: the panel is in the memory, and `taken` gives it to this call alone.
        let bytes = unsafe {
            address.write_bytes(0, length);
            std::slice::from_raw_parts_mut(address, length)
        };
        for column in 0..PANEL {
            let Some(output) = output_at(matrix.arrangement, matrix.rows, panel, column) else {
                continue;
            };
            let (index, row) = self.source_of(output);
            if !packed.pack(&self.sources[index], row, bytes, column) {
                return Err(PackError::NotFinite { index, row });
            }
        }
        Ok(())
    }

    /// Source and row of an output.
    fn source_of(&self, mut output: usize) -> (usize, usize) {
        for (index, source) in self.sources.iter().enumerate() {
            if output < source.rows() {
                return (index, output);
            }
            output -= source.rows();
        }
        unreachable!("outputs are the sources' rows");
    }

    /// The packed matrix.
    ///
    /// # Errors
    /// [`PackError::Unpacked`].
    pub fn finish(self) -> Result<Matrix, PackError> {
        let missing = self
            .done
            .iter()
            .position(|done| !done.load(Ordering::Acquire));
        missing.map_or(Ok(self.matrix), |panel| Err(PackError::Unpacked(panel)))
    }
}

impl Matrix {
    /// Packs on the calling thread alone: see [`Packing`].
    ///
    /// # Errors
    /// When the shapes do not belong together or a weight is not finite.
    pub fn pack(
        isa: Isa,
        kind: WeightKind,
        sources: &[Source<'_>],
        arrangement: Arrangement,
        arenas: &mut [Arena],
    ) -> Result<Self, PackError> {
        let packing = Packing::new(kind, sources, arrangement, arenas)?;
        packing.pack(isa, 0..packing.matrix.num_panels())?;
        packing.finish()
    }

    /// Has products add `bias`, one for each output in the sources' order.
    ///
    /// # Errors
    /// [`PackError::Bias`].
    pub fn with_bias(mut self, bias: &[f32]) -> Result<Self, PackError> {
        let finite = bias.iter().filter(|value| value.is_finite()).count();
        if bias.len() != self.rows || finite != bias.len() {
            return Err(PackError::Bias {
                found: finite,
                expected: self.rows,
            });
        }
        let mut columns = vec![0.0; self.num_panels() * PANEL];
        for (row, &value) in bias.iter().enumerate() {
            let (panel, column) = position(self.arrangement, self.rows, row);
            columns[panel * PANEL + column] = value;
        }
        self.bias = Some(columns);
        Ok(self)
    }
}

fn check(sources: &[Source<'_>], arrangement: Arrangement) -> Result<(), PackError> {
    let expected = sources.first().map_or(0, Source::cols);
    for (index, source) in sources.iter().enumerate() {
        let found = source.cols();
        if found != expected {
            return Err(PackError::Columns {
                index,
                found,
                expected,
            });
        }
    }
    let rows: Vec<usize> = sources.iter().map(Source::rows).collect();
    if arrangement == Arrangement::GateUp && (rows.len() != 2 || rows[0] != rows[1]) {
        return Err(PackError::GateUp(rows));
    }
    Ok(())
}
