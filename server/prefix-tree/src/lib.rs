//! A radix tree over token ids: the longest stored prefix of a token path, token by token.
//!
//! A path is a run of segments, each a domain and its tokens. Two paths are equal only where both
//! agree, so a node's tokens belong to one domain and a child is found by domain and first token.
//! Tokens are compared, never hashes of them alone.
//!
//! The tree stores one value a node and does not know what it is: the shard keeps runs of KV pages
//! there. Depth is counted in tokens from the root; node `n` covers the depths `start(n)..end(n)`.
//!
//! Invariants (`check` verifies them): every node but the root has at least one token; `start` of a
//! child is `end` of its parent; children are filed under their own domain and first token; a node
//! is listed as a free leaf exactly when it is no root, has no child and no lock.

use std::collections::{HashMap, HashSet};

use slotmap::{Key, SlotMap, new_key_type};

mod check;
#[cfg(test)]
mod tests;

new_key_type! {
    /// A node. Ids are never reused for another node.
    pub struct NodeId;
}

impl NodeId {
    /// The id as a number.
    #[must_use]
    pub fn as_u64(self) -> u64 {
        self.data().as_ffi()
    }
}

/// Tokens of one domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Who may share them.
    pub domain: u64,
    /// The tokens, at least one.
    pub tokens: &'a [u32],
}

/// The longest stored prefix of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match {
    /// The deepest node that agrees in at least one token; the root when none does.
    pub node: NodeId,
    /// Tokens that agree. The match ends inside `node` when this is less than its end.
    pub length: usize,
}

#[derive(Debug)]
struct Node<V> {
    parent: Option<NodeId>,
    children: HashMap<(u64, u32), NodeId>,
    domain: u64,
    start: usize,
    tokens: Vec<u32>,
    locks: usize,
    last_used: u64,
    value: V,
}

impl<V> Node<V> {
    fn end(&self) -> usize {
        self.start + self.tokens.len()
    }

    fn edge(&self) -> (u64, u32) {
        (self.domain, self.tokens[0])
    }
}

/// The tree. One owner, no interior locking.
#[derive(Debug)]
pub struct PrefixTree<V> {
    nodes: SlotMap<NodeId, Node<V>>,
    root: NodeId,
    free_leaves: HashSet<NodeId>,
    clock: u64,
}

impl<V> PrefixTree<V> {
    /// An empty tree; `root_value` belongs to the root, which has no tokens and is never removed.
    pub fn new(root_value: V) -> Self {
        let mut nodes = SlotMap::with_key();
        let root = nodes.insert(Node {
            parent: None,
            children: HashMap::new(),
            domain: 0,
            start: 0,
            tokens: Vec::new(),
            locks: 0,
            last_used: 0,
            value: root_value,
        });
        Self {
            nodes,
            root,
            free_leaves: HashSet::new(),
            clock: 0,
        }
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> NodeId {
        self.root
    }

    /// Nodes, the root included.
    #[must_use]
    pub fn num_nodes(&self) -> usize {
        self.nodes.len()
    }

    /// The parent; `None` for the root.
    #[must_use]
    pub fn parent(&self, node: NodeId) -> Option<NodeId> {
        self.nodes[node].parent
    }

    /// The child that goes on with `token` of `domain`.
    #[must_use]
    pub fn child(&self, node: NodeId, domain: u64, token: u32) -> Option<NodeId> {
        self.nodes[node].children.get(&(domain, token)).copied()
    }

    /// Whether the node has no child.
    #[must_use]
    pub fn is_leaf(&self, node: NodeId) -> bool {
        self.nodes[node].children.is_empty()
    }

    /// The domain of the node's tokens (0 for the root).
    #[must_use]
    pub fn domain(&self, node: NodeId) -> u64 {
        self.nodes[node].domain
    }

    /// The node's own tokens.
    #[must_use]
    pub fn tokens(&self, node: NodeId) -> &[u32] {
        &self.nodes[node].tokens
    }

    /// Depth of the node's first token.
    #[must_use]
    pub fn start(&self, node: NodeId) -> usize {
        self.nodes[node].start
    }

    /// Depth behind the node's last token.
    #[must_use]
    pub fn end(&self, node: NodeId) -> usize {
        self.nodes[node].end()
    }

    /// When the node was last touched; larger is later.
    #[must_use]
    pub fn last_used(&self, node: NodeId) -> u64 {
        self.nodes[node].last_used
    }

    /// Locks held on the node itself.
    #[must_use]
    pub fn locks(&self, node: NodeId) -> usize {
        self.nodes[node].locks
    }

    /// The node's value.
    #[must_use]
    pub fn value(&self, node: NodeId) -> &V {
        &self.nodes[node].value
    }

    /// The node's value, to change it.
    pub fn value_mut(&mut self, node: NodeId) -> &mut V {
        &mut self.nodes[node].value
    }

    /// All nodes, in no order.
    pub fn iter(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes.keys()
    }

    /// Leaves that nobody locks: what eviction may choose from, in no order.
    pub fn free_leaves(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.free_leaves.iter().copied()
    }

    /// Whether the node exists and eviction may choose it.
    #[must_use]
    pub fn is_free_leaf(&self, node: NodeId) -> bool {
        self.free_leaves.contains(&node)
    }

    /// Nodes from `node` up to the root, both included.
    pub fn ancestors(&self, node: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        std::iter::successors(Some(node), |&id| self.nodes[id].parent)
    }

    /// The longest stored prefix of a path, of at most `limit` tokens. O(matched tokens).
    #[must_use]
    pub fn longest_prefix(&self, path: &[Segment<'_>], limit: usize) -> Match {
        let mut node = self.root;
        let mut length = 0;
        for segment in path {
            let mut rest = &segment.tokens[..segment.tokens.len().min(limit - length)];
            while let Some(&first) = rest.first() {
                if length == self.end(node) {
                    let Some(child) = self.child(node, segment.domain, first) else {
                        return Match { node, length };
                    };
                    node = child;
                } else if self.domain(node) != segment.domain {
                    return Match { node, length };
                }
                let common = common_prefix(&self.tokens(node)[length - self.start(node)..], rest);
                if common == 0 {
                    return Match { node, length };
                }
                length += common;
                rest = &rest[common..];
            }
        }
        Match { node, length }
    }

    /// Adds a child. The parent must have none that starts with the same token of the same domain.
    ///
    /// # Panics
    /// When the segment is empty or the place is taken: both are the caller's mistakes.
    pub fn insert(&mut self, parent: NodeId, segment: Segment<'_>, value: V) -> NodeId {
        let edge = (segment.domain, segment.tokens[0]);
        let node = self.nodes.insert(Node {
            parent: Some(parent),
            children: HashMap::new(),
            domain: segment.domain,
            start: self.nodes[parent].end(),
            tokens: segment.tokens.to_vec(),
            locks: 0,
            last_used: 0,
            value,
        });
        let taken = self.nodes[parent].children.insert(edge, node);
        assert!(
            taken.is_none(),
            "a child with this domain and first token exists"
        );
        self.free_leaves.remove(&parent);
        self.free_leaves.insert(node);
        self.touch(node);
        node
    }

    /// Adds tokens at the end of a leaf. O(tokens), amortised.
    ///
    /// # Panics
    /// When the node is the root or has children: the caller's mistake.
    pub fn extend(&mut self, leaf: NodeId, tokens: &[u32]) {
        let node = &mut self.nodes[leaf];
        assert!(
            node.parent.is_some() && node.children.is_empty(),
            "only a leaf can be extended"
        );
        node.tokens.extend_from_slice(tokens);
    }

    /// Cuts a node in two at a depth inside it and returns the new upper one. The lower one keeps
    /// id, locks and children. `divide` takes the upper part's value out of the node's.
    ///
    /// # Panics
    /// When `depth` is not inside the node: the caller's mistake.
    pub fn split(
        &mut self,
        node: NodeId,
        depth: usize,
        divide: impl FnOnce(&mut V) -> V,
    ) -> NodeId {
        let lower = &mut self.nodes[node];
        assert!(
            lower.start < depth && depth < lower.end(),
            "depth {depth} is not inside the node"
        );
        let tail = lower.tokens.split_off(depth - lower.start);
        let edge = lower.edge();
        let upper = Node {
            parent: lower.parent,
            children: HashMap::from([((lower.domain, tail[0]), node)]),
            domain: lower.domain,
            start: lower.start,
            tokens: std::mem::replace(&mut lower.tokens, tail),
            locks: 0,
            last_used: lower.last_used,
            value: divide(&mut lower.value),
        };
        lower.start = depth;
        let parent = lower.parent.expect("the root has no tokens to split");
        let upper = self.nodes.insert(upper);
        self.nodes[node].parent = Some(upper);
        self.nodes[parent].children.insert(edge, upper);
        upper
    }

    /// Shortens a leaf to end at `depth`.
    ///
    /// # Panics
    /// When the node has children or `depth` is not inside it: the caller's mistake.
    pub fn truncate(&mut self, leaf: NodeId, depth: usize) {
        let node = &mut self.nodes[leaf];
        assert!(node.children.is_empty(), "only a leaf can be shortened");
        assert!(
            node.start < depth && depth <= node.end(),
            "depth {depth} is not inside the node"
        );
        node.tokens.truncate(depth - node.start);
    }

    /// Takes a leaf out and returns its value. Its parent counts as used when the leaf was.
    ///
    /// # Panics
    /// When the node is the root, has children or is locked: the caller's mistake.
    pub fn remove(&mut self, leaf: NodeId) -> V {
        let node = self.nodes.remove(leaf).expect("the node exists");
        assert!(
            node.children.is_empty() && node.locks == 0,
            "only a free leaf can be removed"
        );
        self.free_leaves.remove(&leaf);
        let parent_id = node.parent.expect("the root is never removed");
        let parent = &mut self.nodes[parent_id];
        parent.children.remove(&node.edge());
        parent.last_used = parent.last_used.max(node.last_used);
        self.list(parent_id);
        node.value
    }

    /// Keeps the node, and with it all its ancestors, from being a free leaf.
    pub fn lock(&mut self, node: NodeId) {
        self.nodes[node].locks += 1;
        self.free_leaves.remove(&node);
    }

    /// Gives one lock back.
    ///
    /// # Panics
    /// When the node is not locked: the caller's mistake.
    pub fn unlock(&mut self, node: NodeId) {
        let locks = &mut self.nodes[node].locks;
        *locks = locks.checked_sub(1).expect("the node is locked");
        self.list(node);
    }

    /// Notes a use of the node.
    pub fn touch(&mut self, node: NodeId) {
        self.clock += 1;
        self.nodes[node].last_used = self.clock;
    }

    fn list(&mut self, id: NodeId) {
        let node = &self.nodes[id];
        if node.parent.is_some() && node.children.is_empty() && node.locks == 0 {
            self.free_leaves.insert(id);
        }
    }
}

fn common_prefix(a: &[u32], b: &[u32]) -> usize {
    // Comparing a whole block is a memcmp; a loop that stops at a difference takes item by item.
    const BLOCK: usize = 1024;
    let equal_blocks = a
        .chunks_exact(BLOCK)
        .zip(b.chunks_exact(BLOCK))
        .take_while(|(x, y)| x == y);
    let start = equal_blocks.count() * BLOCK;
    start
        + a[start..]
            .iter()
            .zip(&b[start..])
            .take_while(|(x, y)| x == y)
            .count()
}
