//! Verification of tree, books and tables.

use std::collections::HashMap;

use prefix_tree::NodeId;

use super::PageCache;
use crate::ledger::Holders;

impl PageCache {
    /// Verifies tree, books and tables. For tests: walks everything.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub fn check(&self) -> Result<(), String> {
        self.tree.check()?;
        let mut found = vec![Holders::default(); self.counts().total];
        for node in self.tree.iter() {
            self.check_run(node)?;
            self.tree
                .value(node)
                .pages
                .iter()
                .for_each(|&page| found[page as usize].tree += 1);
        }
        let mut locks: HashMap<NodeId, usize> = HashMap::new();
        for (id, sequence) in &self.sequences {
            *locks.entry(sequence.node).or_default() += 1;
            if self.enabled && self.tree.end(sequence.node) != sequence.committed {
                return Err(format!("sequence {id} does not end where its node ends"));
            }
            if sequence.table.len() != sequence.reserved.div_ceil(self.page_tokens) {
                return Err(format!(
                    "the page table of sequence {id} has the wrong length"
                ));
            }
            for &page in sequence.table.iter().chain(&sequence.copy_source) {
                found[page as usize].sequences += 1;
            }
        }
        if self
            .tree
            .iter()
            .any(|n| self.tree.locks(n) != locks.get(&n).copied().unwrap_or(0))
        {
            return Err("a node's locks are not those of the open sequences".to_owned());
        }
        self.ledger.check(&found)
    }

    fn check_run(&self, node: NodeId) -> Result<(), String> {
        let run = self.tree.value(node);
        let first = self.tree.start(node) / self.page_tokens;
        let last = self.tree.end(node).div_ceil(self.page_tokens);
        if node != self.tree.root() && (run.first != first || run.pages.len() != last - first) {
            return Err("a node's pages do not cover its tokens".to_owned());
        }
        Ok(())
    }
}
