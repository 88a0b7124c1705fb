//! Which thread computes what.

use super::{AttentionPlan, BLOCK, Piece, Tile, blocks};

/// What reading a key costs, in rows: a tile of few rows waits for memory.
const READ_COST: usize = 8;

/// A border is moved to the edge of a tile when that is within this part of a thread's share: the
/// threads then need no second wait.
const SLACK: usize = 32;

/// Where a thread's stretch begins: a block of a tile.
type Border = (usize, usize);

impl Tile {
    /// Cost of one key.
    fn key_cost(&self) -> usize {
        self.num_rows + READ_COST
    }

    fn cost(&self) -> usize {
        self.keys.len() * self.key_cost()
    }
}

impl AttentionPlan {
    pub(super) fn split(&mut self) {
        let borders = self.borders();
        for pair in borders.windows(2) {
            self.starts.push(self.pieces.len());
            self.add_pieces(pair[0], pair[1]);
        }
        self.starts.push(self.pieces.len());
        self.find_cut_chains();
    }

    /// Borders of equal cost, one more than threads.
    fn borders(&self) -> Vec<Border> {
        let threads = self.shape.num_threads;
        let total: usize = self.tiles.iter().map(Tile::cost).sum();
        let slack = total / threads / SLACK;
        let mut borders = vec![(0, self.first_block(0))];
        let (mut index, mut before) = (0, 0);
        for thread in 1..threads {
            let target = total / threads * thread;
            while let Some(tile) = self.tiles.get(index)
                && before + tile.cost() <= target
            {
                before += tile.cost();
                index += 1;
            }
            borders.push(self.border_in(index, target - before, slack));
        }
        borders.push((self.tiles.len(), 0));
        borders
    }

    /// The border in a tile that leaves a cost of about `target`, less than the tile's, left of it.
    fn border_in(&self, index: usize, target: usize, slack: usize) -> Border {
        let Some(tile) = self.tiles.get(index) else {
            return (index, 0);
        };
        let rest = tile.cost() - target;
        let key = tile.keys.start + target / tile.key_cost();
        let block = (key + BLOCK / 2) / BLOCK;
        let blocks = blocks(&tile.keys);
        if target.min(rest) > slack && blocks.contains(&block) {
            return (index, block);
        }
        let edge = if target <= rest { index } else { index + 1 };
        (edge, self.first_block(edge))
    }

    fn first_block(&self, tile: usize) -> usize {
        self.tiles
            .get(tile)
            .map_or(0, |tile| blocks(&tile.keys).start)
    }

    fn add_pieces(&mut self, from: Border, to: Border) {
        for tile in from.0..(to.0 + 1).min(self.tiles.len()) {
            let mut blocks = blocks(&self.tiles[tile].keys);
            if tile == from.0 {
                blocks.start = from.1;
            }
            if tile == to.0 {
                blocks.end = to.1;
            }
            if !blocks.is_empty() {
                self.pieces.push(Piece { tile, blocks });
            }
        }
    }

    /// Gives room for partials to the chains that are in several pieces.
    fn find_cut_chains(&mut self) {
        for piece in &self.pieces {
            let tile = &self.tiles[piece.tile];
            for member in &self.members[tile.members.clone()] {
                let chain = &mut self.chains[member.chain];
                if piece.blocks.start == chain.blocks.start {
                    chain.first_end = piece.blocks.end;
                }
            }
        }
        for chain in &mut self.chains {
            if chain.first_end < chain.blocks.end {
                chain.slots = Some(self.num_slots);
                self.num_slots += chain.num_slots() * chain.num_rows;
            }
        }
    }
}
