//! Which rows are computed together.

use std::ops::Range;

use super::{
    AttentionPlan, Chain, Member, PAGE_TOKENS, PlanError, SequenceRows, TILE_ROWS, Tile, blocks,
};

impl AttentionPlan {
    pub(super) fn add_tiles(&mut self, sequences: &[SequenceRows<'_>]) -> Result<(), PlanError> {
        let mut sharers = Vec::new();
        for sequence in sequences.iter().filter(|sequence| sequence.num_rows > 0) {
            let table = self.add_table(sequence)?;
            if self.may_share(sequence) {
                sharers.push(self.add_sharer(sequence, table));
                continue;
            }
            for kv_head in 0..self.shape.num_kv_heads {
                self.add_sequence(sequence, table, kv_head);
            }
        }
        self.add_shared(sharers);
        Ok(())
    }

    /// Copies the pages that some row sees; gives where page 0 is.
    fn add_table(&mut self, sequence: &SequenceRows<'_>) -> Result<usize, PlanError> {
        let row = sequence.first_row;
        let tokens = sequence.context.saturating_add(sequence.num_rows);
        if tokens > i32::MAX as usize {
            return Err(PlanError::TooLong { row, tokens });
        }
        let needed = tokens.div_ceil(PAGE_TOKENS);
        let first = self.visible(sequence.context).start / PAGE_TOKENS;
        let pages = sequence.pages.get(..needed).ok_or(PlanError::ShortTable {
            row,
            pages: sequence.pages.len(),
            needed,
        })?;
        let table = self.tables.len();
        self.tables.resize(table + first, 0);
        for &page in &pages[first..] {
            let pool = self.shape.num_pages;
            let id = u32::try_from(page).ok().filter(|&id| (id as usize) < pool);
            let id = id.ok_or(PlanError::PageOutOfRange { row, page, pool })?;
            self.tables.push(id);
        }
        Ok(table)
    }

    /// Tiles of one sequence and head: runs of positions.
    fn add_sequence(&mut self, sequence: &SequenceRows<'_>, table: usize, kv_head: usize) {
        for run in even_runs(sequence.num_rows, self.tile_positions()) {
            let member = Member {
                first_row: sequence.first_row + run.start,
                first_position: sequence.context + run.start,
                num_positions: run.len(),
                chain: self.chains.len(),
            };
            let keys = self.keys(&member);
            self.add_chain(member, kv_head, blocks(&keys));
            self.add_tile(&[member], (table, kv_head), keys);
        }
    }

    /// Positions that a tile has room for.
    pub(super) fn tile_positions(&self) -> usize {
        TILE_ROWS / self.group()
    }

    /// Keys that some position of a member sees.
    pub(super) fn keys(&self, member: &Member) -> Range<usize> {
        let first = self.visible(member.first_position);
        first.start..first.end + member.num_positions - 1
    }

    pub(super) fn add_chain(&mut self, member: Member, kv_head: usize, blocks: Range<usize>) {
        self.chains.push(Chain {
            member,
            kv_head,
            num_rows: member.num_positions * self.group(),
            first_end: blocks.end,
            blocks,
            slots: None,
        });
    }

    pub(super) fn add_tile(
        &mut self,
        members: &[Member],
        (table, kv_head): (usize, usize),
        keys: Range<usize>,
    ) {
        let start = self.members.len();
        self.members.extend_from_slice(members);
        let positions: usize = members.iter().map(|member| member.num_positions).sum();
        self.tiles.push(Tile {
            kv_head,
            members: start..self.members.len(),
            table,
            keys,
            num_rows: positions * self.group(),
        });
    }
}

/// Cuts `length` items into runs of at most `most`, as equal as can be.
pub(super) fn even_runs(length: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    let count = length.div_ceil(most);
    (0..count).map(move |i| length * i / count..length * (i + 1) / count)
}
