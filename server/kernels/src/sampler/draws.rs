//! The rows of a step as flat arrays name them.

use super::{Row, SamplerError};

/// What is drawn in a step. Letters: R rows, M of them with a mask. `executor/step.py` owns the
/// meaning.
#[derive(Debug, Clone, Copy, Default)]
pub struct Draws<'a> {
    /// [R] the slot of each row.
    pub slots: &'a [i32],
    /// [M] rows that may draw some tokens only, none twice.
    pub mask_rows: &'a [i32],
    /// [M, words of a mask] the tokens of each, as [`Row::mask`] has them.
    pub masks: &'a [u32],
}

impl<'a> Draws<'a> {
    /// The rows, where the token to draw in row r has the position `positions[r]`; a mask has
    /// `mask_words` words.
    ///
    /// # Errors
    /// `Positions`, `NegativeSlot`, `Masks`, `MaskRow`, `TwoMasks`.
    pub fn rows(&self, positions: &[u32], mask_words: usize) -> Result<Vec<Row<'a>>, SamplerError> {
        let (slots, positions_len) = (self.slots.len(), positions.len());
        if slots != positions_len {
            return Err(SamplerError::Positions {
                slots,
                positions: positions_len,
            });
        }
        let row = |(&slot, &position)| {
            Ok(Row {
                slot: usize::try_from(slot).map_err(|_| SamplerError::NegativeSlot(slot))?,
                position,
                mask: None,
            })
        };
        let mut rows = self
            .slots
            .iter()
            .zip(positions)
            .map(row)
            .collect::<Result<Vec<_>, _>>()?;
        self.attach_masks(&mut rows, mask_words)?;
        Ok(rows)
    }

    fn attach_masks(&self, rows: &mut [Row<'a>], mask_words: usize) -> Result<(), SamplerError> {
        let masks = self.mask_rows.len();
        if masks.checked_mul(mask_words) != Some(self.masks.len()) {
            return Err(SamplerError::Masks {
                words: self.masks.len(),
                masks,
                mask_words,
            });
        }
        let rows_len = rows.len();
        for (&index, mask) in self
            .mask_rows
            .iter()
            .zip(self.masks.chunks_exact(mask_words))
        {
            let row = usize::try_from(index).ok().and_then(|i| rows.get_mut(i));
            let row = row.ok_or(SamplerError::MaskRow {
                index,
                rows: rows_len,
            })?;
            if row.mask.replace(mask).is_some() {
                return Err(SamplerError::TwoMasks(index));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: Draws<'static> = Draws {
        slots: &[4, 2],
        mask_rows: &[1],
        masks: &[7, 8],
    };

    #[test]
    fn rows_have_their_slots_positions_and_masks() {
        let rows = DRAWS.rows(&[10, 20], 2).expect("they fit");
        let found: Vec<_> = rows.iter().map(|r| (r.slot, r.position, r.mask)).collect();
        assert_eq!(found, [(4, 10, None), (2, 20, Some(&[7, 8][..]))]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let error = |draws: Draws<'static>| draws.rows(&[10, 20], 2).err();
        for wrong in [
            Draws {
                slots: &[4],
                ..DRAWS
            },
            Draws {
                slots: &[4, -1],
                ..DRAWS
            },
            Draws {
                masks: &[7],
                ..DRAWS
            },
            Draws {
                mask_rows: &[2],
                ..DRAWS
            },
            Draws {
                mask_rows: &[-1],
                ..DRAWS
            },
            Draws {
                mask_rows: &[1, 1],
                masks: &[7, 8, 7, 8],
                ..DRAWS
            },
        ] {
            assert!(error(wrong).is_some(), "{wrong:?}");
        }
    }
}
