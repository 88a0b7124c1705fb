//! Which rows of a step a thread has.

use std::ops::Range;

use crate::attention::SequenceRows;

/// Most rows that a thread computes in one go when it computes its own: what they are in between
/// stays in a second-level cache. From as many rows a thread on, weights are not what a step waits
/// for, although every thread reads all of them.
const RUN: usize = if cfg!(test) { 24 } else { 96 };

/// The rows of a step in near equal parts. Two tokens of one sequence whose values share words, an
/// even position and the odd one after it, are in one part.
#[derive(Debug)]
pub(super) struct RowSplit {
    /// Of the runs of all threads, one more than there are.
    borders: Vec<usize>,
    /// Of one thread.
    runs: usize,
    is_apart: bool,
}

impl RowSplit {
    pub(super) fn new(sequences: &[SequenceRows<'_>], rows: usize, threads: usize) -> Self {
        let is_apart = rows >= threads * RUN;
        let runs = if is_apart {
            rows.div_ceil(threads * RUN)
        } else {
            1
        };
        let border = |row: usize| {
            let last = sequences.partition_point(|sequence| sequence.first_row < row);
            match last.checked_sub(1).map(|index| sequences[index]) {
                Some(sequence) if row < sequence.first_row + sequence.num_rows => {
                    row + (sequence.context + row - sequence.first_row) % 2
                }
                _ => row,
            }
        };
        let count = threads * runs;
        Self {
            borders: (0..=count).map(|run| border(rows * run / count)).collect(),
            runs,
            is_apart,
        }
    }

    /// Whether every thread computes its rows by itself.
    pub(super) fn is_apart(&self) -> bool {
        self.is_apart
    }

    /// The rows of a thread.
    pub(super) fn thread_rows(&self, thread: usize) -> Range<usize> {
        let first = thread * self.runs;
        self.borders[first]..self.borders[first + self.runs]
    }

    /// The same in runs.
    pub(super) fn thread_runs(&self, thread: usize) -> impl Iterator<Item = Range<usize>> {
        let first = thread * self.runs;
        let borders = self.borders[first..=first + self.runs].windows(2);
        borders.map(|pair| pair[0]..pair[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(first_row: usize, num_rows: usize, context: usize) -> SequenceRows<'static> {
        SequenceRows {
            first_row,
            num_rows,
            context,
            pages: &[],
        }
    }

    #[test]
    fn few_rows_are_split_and_pairs_are_not() {
        // Rows 1 and 2 are at positions 4 and 5, rows 3 and 4 at 6 and 7.
        let split = RowSplit::new(&[sequence(0, 5, 3)], 5, 2);
        assert!(!split.is_apart());
        assert_eq!([0, 1].map(|t| split.thread_rows(t)), [0..3, 3..5]);
    }

    #[test]
    fn many_rows_fall_into_runs_that_cover_them() {
        for threads in 1..5 {
            for rows in (threads * RUN..500).step_by(7) {
                let sequences = [sequence(0, 9, 1), sequence(9, rows - 9, 40)];
                let split = RowSplit::new(&sequences, rows, threads);
                assert!(split.is_apart());
                let mut next = 0;
                for thread in 0..threads {
                    assert_eq!(split.thread_rows(thread).start, next);
                    for run in split.thread_runs(thread) {
                        assert!(run.start == next && run.len() <= RUN + 1);
                        next = run.end;
                    }
                }
                assert_eq!(next, rows);
            }
        }
    }
}
