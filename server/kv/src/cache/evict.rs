//! Room for new pages: the least recently used leaf gives up pages from its tail.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use prefix_tree::NodeId;

use super::PageCache;

/// At least this share of the pool is freed at once, so that the walk over the leaves is paid for
/// rarely.
const BATCH_DIVISOR: usize = 256;

impl PageCache {
    /// Has `pages` pages free, evicting when it must. False when they cannot be had; then nothing
    /// was evicted, unless pages that only the tree holds could not be reached.
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
        pages <= self.counts().free
    }

    /// Drops everything that no open sequence holds.
    pub fn clear(&mut self) {
        self.evict(usize::MAX);
    }

    fn evict(&mut self, wanted: usize) {
        let tree = &self.tree;
        let mut leaves: BinaryHeap<_> =
            tree.free_leaves().map(|leaf| Reverse((tree.last_used(leaf), leaf))).collect();
        let mut freed = 0;
        while freed < wanted {
            let Some(Reverse((_, leaf))) = leaves.pop() else { break };
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
