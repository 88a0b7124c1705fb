//! What one step computes, checked before anything is touched.

use crate::attention::SequenceRows;

/// One step: page copies in order, then all sequences' tokens at once.
///
/// Letters: T tokens, S sequences, R rows whose logits are wanted. `executor/step.py` owns the
/// meaning.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    /// Pairs (source, destination) of page ids.
    pub copies: &'a [i32],
    /// [T]
    pub tokens: &'a [u32],
    /// [S + 1] sequence s computes tokens `query_starts[s]..query_starts[s + 1]`.
    pub query_starts: &'a [i32],
    /// [S] tokens of a sequence that are in its pages already.
    pub context_lengths: &'a [i32],
    /// [S + 1] sequence s has the pages `page_starts[s]..page_starts[s + 1]`.
    pub page_starts: &'a [i32],
    /// Page ids.
    pub pages: &'a [i32],
    /// [R] indices into `tokens`.
    pub sample_rows: &'a [i32],
}

/// What a plan got wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// An array of another length than the others say.
    #[error("{name} has {length} items, expected {expected}")]
    Length {
        /// The array.
        name: &'static str,
        /// Its length.
        length: usize,
        /// What it should be.
        expected: usize,
    },
    /// Borders that do not begin at 0, descend, or end elsewhere than their array.
    #[error("{name} must ascend from 0 to {end}")]
    Borders {
        /// The array of borders.
        name: &'static str,
        /// Where it must end.
        end: usize,
    },
    /// A number outside its range.
    #[error("{name}[{index}] is {value}, expected 0 to below {limit}")]
    Range {
        /// The array.
        name: &'static str,
        /// Where in it.
        index: usize,
        /// The number.
        value: i64,
        /// One more than the largest allowed.
        limit: usize,
    },
    /// Too few pages for a sequence's tokens.
    #[error("sequence {sequence} has {pages} pages, its {tokens} tokens need {needed}")]
    Pages {
        /// The sequence.
        sequence: usize,
        /// Pages it has.
        pages: usize,
        /// Tokens after the step.
        tokens: usize,
        /// Pages for them.
        needed: usize,
    },
    /// A page that two sequences, or one twice, would write to in this step.
    #[error("page {0} would be written by two sequences")]
    SharedPage(i32),
}

/// The sizes that a plan must fit.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Token ids below this.
    pub vocab_size: usize,
    /// Page ids below this.
    pub num_pages: usize,
    /// Tokens a page holds.
    pub page_tokens: usize,
    /// Positions below this.
    pub max_positions: usize,
}

impl<'a> Plan<'a> {
    /// Checks lengths and ranges.
    ///
    /// # Errors
    /// The first mistake.
    pub fn check(&self, bounds: Bounds) -> Result<(), PlanError> {
        let sequences = self.context_lengths.len();
        for (name, length) in [
            ("query_starts", self.query_starts.len()),
            ("page_starts", self.page_starts.len()),
        ] {
            if length != sequences + 1 {
                let expected = sequences + 1;
                return Err(PlanError::Length {
                    name,
                    length,
                    expected,
                });
            }
        }
        check_borders("query_starts", self.query_starts, self.tokens.len())?;
        check_borders("page_starts", self.page_starts, self.pages.len())?;
        if !self.copies.len().is_multiple_of(2) {
            let length = self.copies.len();
            return Err(PlanError::Length {
                name: "copies",
                length,
                expected: length + 1,
            });
        }
        let tokens = self.tokens.iter().map(|&token| i64::from(token));
        check_range("tokens", tokens, bounds.vocab_size)?;
        let signed = |items: &'a [i32]| items.iter().map(|&item| i64::from(item));
        check_range("copies", signed(self.copies), bounds.num_pages)?;
        check_range("pages", signed(self.pages), bounds.num_pages)?;
        check_range("sample_rows", signed(self.sample_rows), self.tokens.len())?;
        check_range(
            "context_lengths",
            signed(self.context_lengths),
            bounds.max_positions,
        )?;
        self.check_pages(bounds)
    }

    fn check_pages(&self, bounds: Bounds) -> Result<(), PlanError> {
        let mut written = Vec::new();
        for (index, sequence) in self.sequences().enumerate() {
            let tokens = sequence.context + sequence.num_rows;
            if tokens > bounds.max_positions {
                return Err(PlanError::Range {
                    name: "context_lengths",
                    index,
                    value: sequence.context as i64,
                    limit: bounds.max_positions - sequence.num_rows.min(bounds.max_positions) + 1,
                });
            }
            let needed = tokens.div_ceil(bounds.page_tokens);
            if sequence.pages.len() < needed {
                return Err(PlanError::Pages {
                    sequence: index,
                    pages: sequence.pages.len(),
                    tokens,
                    needed,
                });
            }
            if sequence.num_rows > 0 {
                written.extend(&sequence.pages[sequence.context / bounds.page_tokens..needed]);
            }
        }
        written.sort_unstable();
        match written.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(PlanError::SharedPage(pair[0])),
            None => Ok(()),
        }
    }

    /// The sequences, of a plan whose borders are checked.
    pub fn sequences(&self) -> impl Iterator<Item = SequenceRows<'a>> {
        let Self {
            query_starts,
            page_starts,
            pages,
            ..
        } = *self;
        self.context_lengths
            .iter()
            .enumerate()
            .map(move |(index, &context)| {
                let (first, end) = (query_starts[index], query_starts[index + 1]);
                let pages = &pages[page_starts[index] as usize..page_starts[index + 1] as usize];
                SequenceRows {
                    first_row: first as usize,
                    num_rows: (end - first) as usize,
                    context: context as usize,
                    pages,
                }
            })
    }

    /// Position of each token in its sequence.
    #[must_use]
    pub fn positions(&self) -> Vec<u32> {
        self.sequences()
            .flat_map(|s| (s.context..s.context + s.num_rows).map(|position| position as u32))
            .collect()
    }
}

fn check_borders(name: &'static str, borders: &[i32], end: usize) -> Result<(), PlanError> {
    let ends = borders.first() == Some(&0) && borders.last().map(|&b| b as usize) == Some(end);
    if ends && borders.is_sorted() {
        Ok(())
    } else {
        Err(PlanError::Borders { name, end })
    }
}

fn check_range(
    name: &'static str,
    items: impl Iterator<Item = i64>,
    limit: usize,
) -> Result<(), PlanError> {
    for (index, value) in items.enumerate() {
        if !usize::try_from(value).is_ok_and(|value| value < limit) {
            return Err(PlanError::Range {
                name,
                index,
                value,
                limit,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        vocab_size: 10,
        num_pages: 4,
        page_tokens: 32,
        max_positions: 100,
    };

    fn plan() -> Plan<'static> {
        Plan {
            copies: &[0, 1],
            tokens: &[1, 2, 3],
            query_starts: &[0, 2, 3],
            context_lengths: &[31, 0],
            page_starts: &[0, 2, 3],
            pages: &[0, 1, 2],
            sample_rows: &[1, 2],
        }
    }

    #[test]
    fn a_right_plan_says_where_its_tokens_are() {
        assert_eq!(plan().check(BOUNDS), Ok(()));
        assert_eq!(plan().positions(), [31, 32, 0]);
    }

    #[test]
    fn a_wrong_plan_is_refused() {
        let wrong: [fn(&mut Plan<'static>); 15] = [
            |plan| plan.copies = &[0],
            |plan| plan.copies = &[0, 4],
            |plan| plan.copies = &[-1, 0],
            |plan| plan.tokens = &[1, 2, 10],
            |plan| plan.tokens = &[1, 2],
            |plan| plan.query_starts = &[0, 3],
            |plan| plan.query_starts = &[0, 4, 3],
            |plan| plan.query_starts = &[-1, 2, 3],
            |plan| plan.context_lengths = &[31, -1],
            |plan| plan.context_lengths = &[99, 0],
            |plan| plan.page_starts = &[0, 1, 3],
            |plan| plan.page_starts = &[0, 2, 2],
            |plan| plan.pages = &[0, 1, 4],
            |plan| plan.pages = &[0, 1, 1],
            |plan| plan.sample_rows = &[3],
        ];
        for (index, spoil) in wrong.iter().enumerate() {
            let mut spoiled = plan();
            spoil(&mut spoiled);
            assert!(spoiled.check(BOUNDS).is_err(), "case {index}");
        }
    }

    #[test]
    fn an_empty_plan_is_right() {
        let empty = Plan {
            copies: &[],
            tokens: &[],
            query_starts: &[0],
            context_lengths: &[],
            page_starts: &[0],
            pages: &[],
            sample_rows: &[],
        };
        assert_eq!(empty.check(BOUNDS), Ok(()));
    }
}
