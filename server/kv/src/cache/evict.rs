//! Room for new pages: the least recently used leaf gives up pages from its tail.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use prefix_tree::NodeId;

use super::PageCache;

/// At least this share of the pool is freed at once, so that the walk over the leaves is paid for
/// rarely.
const BATCH_DIVISOR: usize = 256;

impl PageCache {
    /// Has `pages` pages free, evicting when it must. False, with nothing evicted, when they cannot be
    /// had.
    pub(super) fn make_room(&mut self, pages: usize) -> bool {
        let counts = self.counts();
        if pages <= counts.free {
            return true;
        }
        if pages > counts.free + counts.cached {
            return false;
        }
        let batch = (counts.total / BATCH_DIVISOR).max(pages - counts.free);
        self.evict(batch);
        if self.counts().free < pages {
            self.align();
            self.evict(pages.saturating_sub(self.counts().free));
        }
        true
    }

    /// Lets the path of every open sequence hold that sequence's pages.
    ///
    /// A node above a branch may hold the page of one branch while the sequence that keeps the node
    /// from eviction reads that of another. Afterwards each page that the tree alone holds belongs to
    /// nodes that can all be evicted, so all of them can be had. Slow, and rarely needed.
    fn align(&mut self) {
        for sequence in self.sequences.values() {
            let path: Vec<NodeId> = self.tree.ancestors(sequence.node).collect();
            for node in path {
                let run = self.tree.value_mut(node);
                for (index, held) in (run.first..).zip(&mut run.pages) {
                    let own = sequence.written_page(index, self.page_tokens);
                    self.ledger.retain_tree(own);
                    self.ledger.release_tree(std::mem::replace(held, own));
                }
            }
        }
    }

    /// Drops everything that no open sequence holds.
    pub fn clear(&mut self) {
        self.evict(usize::MAX);
    }

    fn evict(&mut self, wanted: usize) {
        let tree = &self.tree;
        let mut leaves: BinaryHeap<_> = tree
            .free_leaves()
            .map(|leaf| Reverse((tree.last_used(leaf), leaf)))
            .collect();
        let mut freed = 0;
        while freed < wanted {
            let Some(Reverse((_, leaf))) = leaves.pop() else {
                break;
            };
            let parent = self.tree.parent(leaf).expect("the root is no free leaf");
            freed += self.shorten(leaf, wanted - freed);
            if self.tree.is_free_leaf(parent) {
                leaves.push(Reverse((self.tree.last_used(parent), parent)));
            }
        }
        self.evictions += freed as u64;
    }

    /// Takes pages from a leaf's tail, until `wanted` are free or the leaf is gone. Returns how many
    /// are free: a page that another node or a sequence holds as well is not.
    fn shorten(&mut self, leaf: NodeId, wanted: usize) -> usize {
        let mut freed = 0;
        while freed < wanted {
            let run = self.tree.value_mut(leaf);
            let page = run.pages.pop().expect("a node has pages");
            let end = (run.first + run.pages.len()) * self.page_tokens;
            freed += usize::from(self.ledger.release_tree(page));
            if end <= self.tree.start(leaf) {
                self.tree.remove(leaf);
                break;
            }
            self.tree.truncate(leaf, end);
        }
        freed
    }
}
