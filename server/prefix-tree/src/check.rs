//! Verification of the tree's structure.

use crate::PrefixTree;

impl<V> PrefixTree<V> {
    /// Verifies the structure. For tests: walks everything.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub fn check(&self) -> Result<(), String> {
        let mut reached = 0;
        let mut stack = vec![self.root];
        while let Some(id) = stack.pop() {
            reached += 1;
            let node = &self.nodes[id];
            for (edge, &child_id) in &node.children {
                let child = self.nodes.get(child_id).ok_or("a child does not exist")?;
                ensure(child.parent == Some(id), "a child names another parent")?;
                ensure(!child.tokens.is_empty(), "a node has no tokens")?;
                ensure(child.edge() == *edge, "a child is filed under another edge")?;
                ensure(
                    child.start == node.end(),
                    "a child does not start at its parent's end",
                )?;
                stack.push(child_id);
            }
            let free = id != self.root && node.children.is_empty() && node.locks == 0;
            ensure(
                self.free_leaves.contains(&id) == free,
                "the list of free leaves is wrong",
            )?;
        }
        ensure(
            reached == self.nodes.len(),
            "a node cannot be reached from the root",
        )?;
        ensure(
            self.free_leaves.len() <= reached,
            "a free leaf does not exist",
        )
    }
}

fn ensure(holds: bool, otherwise: &str) -> Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(otherwise.to_owned())
    }
}
