//! Sequences that begin with the same pages read them together.
//!
//! Whole blocks with equal page ids make a tile of all sequences' rows; where the tables part, so do
//! the tiles. A chain is then folded over tiles of several widths, which its bits do not show.

use super::tiles::even_runs;
use super::{AttentionPlan, BLOCK, BLOCK_PAGES, Member, SequenceRows, blocks};

/// A sequence of few rows, whose first chain (there is one a key-value head) is `member.chain`.
pub(super) struct Sharer<'a> {
    member: Member,
    /// Where its pages begin in the plan's tables.
    table: usize,
    /// Pages of the blocks that all its rows see whole.
    whole: &'a [[i32; BLOCK_PAGES]],
}

impl AttentionPlan {
    /// Whether a sequence's rows fit a tile beside others'. Windows are short: sharing them would
    /// save little.
    pub(super) fn may_share(&self, sequence: &SequenceRows<'_>) -> bool {
        let fits = sequence.num_rows == 1 || 2 * sequence.num_rows <= self.tile_positions();
        self.shape.sharing && self.shape.window.is_none() && fits
    }

    pub(super) fn add_sharer<'a>(
        &mut self,
        sequence: &SequenceRows<'a>,
        table: usize,
    ) -> Sharer<'a> {
        let member = Member {
            first_row: sequence.first_row,
            first_position: sequence.context,
            num_positions: sequence.num_rows,
            chain: self.chains.len(),
        };
        for kv_head in 0..self.shape.num_kv_heads {
            self.add_chain(member, kv_head, blocks(&self.keys(&member)));
        }
        let whole = (sequence.context + 1) / BLOCK;
        Sharer {
            member,
            table,
            whole: &sequence.pages.as_chunks().0[..whole],
        }
    }

    pub(super) fn add_shared(&mut self, mut sharers: Vec<Sharer<'_>>) {
        sharers.sort_by(|a, b| a.whole.cmp(b.whole));
        self.descend(&sharers, 0);
    }

    /// Adds the tiles of sequences, sorted by their pages, from block `from` on; before it they have
    /// the same pages.
    fn descend(&mut self, mut sharers: &[Sharer<'_>], from: usize) {
        while let [first, ..] = sharers {
            let equal = |sharer: &&Sharer<'_>| sharer.whole.get(from) == first.whole.get(from);
            let count = match first.whole.get(from) {
                Some(_) => sharers.iter().take_while(equal).count(),
                None => 1,
            };
            let (together, rest) = sharers.split_at(count);
            match together {
                [alone] => self.add_tail(alone, from),
                _ => {
                    let to = common_blocks(together);
                    self.add_prefix(together, from..to);
                    self.descend(together, to);
                }
            }
            sharers = rest;
        }
    }

    /// A tile of all rows, or several where one has no room, over blocks that all have.
    fn add_prefix(&mut self, sharers: &[Sharer<'_>], blocks: std::ops::Range<usize>) {
        let rows = sharers
            .iter()
            .map(|sharer| sharer.member.num_positions)
            .max();
        let most = self.tile_positions() / rows.unwrap_or(1);
        for kv_head in 0..self.shape.num_kv_heads {
            for run in even_runs(sharers.len(), most) {
                let members: Vec<Member> = sharers[run]
                    .iter()
                    .map(|sharer| sharer.member(kv_head))
                    .collect();
                let keys = blocks.start * BLOCK..blocks.end * BLOCK;
                self.add_tile(&members, (sharers[0].table, kv_head), keys);
            }
        }
    }

    /// What a sequence has for itself.
    fn add_tail(&mut self, sharer: &Sharer<'_>, from: usize) {
        let end = self.keys(&sharer.member).end;
        if from * BLOCK >= end {
            return;
        }
        for kv_head in 0..self.shape.num_kv_heads {
            let at = (sharer.table, kv_head);
            self.add_tile(&[sharer.member(kv_head)], at, from * BLOCK..end);
        }
    }
}

impl Sharer<'_> {
    fn member(&self, kv_head: usize) -> Member {
        Member {
            chain: self.member.chain + kv_head,
            ..self.member
        }
    }
}

/// Blocks that sequences, sorted by their pages, all begin with: those of the first and the last.
fn common_blocks(sharers: &[Sharer<'_>]) -> usize {
    let (Some(first), Some(last)) = (sharers.first(), sharers.last()) else {
        return 0;
    };
    first
        .whole
        .iter()
        .zip(last.whole)
        .take_while(|(a, b)| a == b)
        .count()
}
