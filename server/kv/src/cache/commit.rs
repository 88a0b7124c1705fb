//! Committed tokens enter the tree.

use prefix_tree::{NodeId, Segment};

use super::{CacheError, PageCache, PageId, PageRun, Sequence, SequenceId};

impl PageCache {
    /// Puts the sequence's next tokens, whose KV is written, under its path.
    ///
    /// # Errors
    /// `UnknownSequence`; `NotReserved` when the page table does not cover them.
    pub fn commit(&mut self, id: SequenceId, path: &[Segment<'_>]) -> Result<(), CacheError> {
        let sequence = self.sequence(id)?;
        let end = sequence.committed + path.iter().map(|s| s.tokens.len()).sum::<usize>();
        if end > sequence.reserved || (sequence.tail_is_shared && end > sequence.committed) {
            return Err(CacheError::NotReserved {
                end,
                reserved: sequence.reserved,
            });
        }
        let mut sequence = self.sequences.remove(&id).expect("found above");
        // The step that wrote the tokens has made its copies.
        if let Some(source) = sequence.copy_source.take() {
            self.ledger.release_sequence(source);
        }
        for segment in path {
            let mut rest = *segment;
            while !rest.tokens.is_empty() {
                let taken = self.commit_part(&mut sequence, rest);
                rest.tokens = &rest.tokens[taken..];
            }
        }
        self.sequences.insert(id, sequence);
        Ok(())
    }

    /// Commits the first tokens of a segment, as many as one node takes; returns how many.
    fn commit_part(&mut self, sequence: &mut Sequence, segment: Segment<'_>) -> usize {
        if !self.enabled {
            sequence.committed += segment.tokens.len();
            return segment.tokens.len();
        }
        let node = sequence.node;
        match self.tree.child(node, segment.domain, segment.tokens[0]) {
            Some(child) => self.descend(sequence, child, segment),
            None if self.is_own_leaf(node, segment.domain) => self.extend(sequence, segment),
            None => self.add_child(sequence, segment),
        }
    }

    /// Whether the node can grow in place: a leaf that no other sequence ends at.
    fn is_own_leaf(&self, node: NodeId, domain: u64) -> bool {
        node != self.tree.root()
            && self.tree.is_leaf(node)
            && self.tree.locks(node) == 1
            && self.tree.domain(node) == domain
    }

    /// Somebody else has committed these tokens: take over the tree's pages where they are whole.
    fn descend(&mut self, sequence: &mut Sequence, child: NodeId, segment: Segment<'_>) -> usize {
        let stored = self.tree.tokens(child);
        let common = stored
            .iter()
            .zip(segment.tokens)
            .take_while(|(a, b)| a == b)
            .count();
        let end = sequence.committed + common;
        let node = self.split_at(child, end);
        let run = self.tree.value(node);
        for (index, &theirs) in (run.first..).zip(&run.pages) {
            // A page that `end` cuts stays our own: we go on writing there.
            if (index + 1) * self.page_tokens <= end {
                self.ledger.retain_sequence(theirs);
                let own = std::mem::replace(&mut sequence.table[index], theirs);
                self.ledger.release_sequence(own);
            }
        }
        self.advance(sequence, node, end);
        common
    }

    fn extend(&mut self, sequence: &mut Sequence, segment: Segment<'_>) -> usize {
        let (node, start) = (sequence.node, sequence.committed);
        let end = start + segment.tokens.len();
        let pages = self.pages_from(sequence, start.div_ceil(self.page_tokens), end);
        self.tree.extend(node, segment.tokens);
        self.tree.value_mut(node).pages.extend(pages);
        self.supersede(sequence, start);
        sequence.committed = end;
        segment.tokens.len()
    }

    fn add_child(&mut self, sequence: &mut Sequence, segment: Segment<'_>) -> usize {
        let start = sequence.committed;
        let end = start + segment.tokens.len();
        let first = start / self.page_tokens;
        let pages = self.pages_from(sequence, first, end);
        self.supersede(sequence, start);
        let child = self
            .tree
            .insert(sequence.node, segment, PageRun { first, pages });
        self.advance(sequence, child, end);
        segment.tokens.len()
    }

    /// The sequence's pages from a page index up to a token, now held by the tree as well.
    fn pages_from(&mut self, sequence: &Sequence, first: usize, end: usize) -> Vec<PageId> {
        let pages = sequence.table[first..end.div_ceil(self.page_tokens)].to_vec();
        pages.iter().for_each(|&page| self.ledger.retain_tree(page));
        pages
    }

    /// Lets the path up to the sequence's node hold the sequence's own copy of the page that `depth`
    /// lies inside of, in place of older ones with fewer tokens: a conversation that goes on turn by
    /// turn keeps one page there, not one a turn.
    fn supersede(&mut self, sequence: &Sequence, depth: usize) {
        let index = depth / self.page_tokens;
        if depth.is_multiple_of(self.page_tokens) {
            return;
        }
        let page = sequence.table[index];
        let path: Vec<NodeId> = self
            .tree
            .ancestors(sequence.node)
            .take_while(|&node| self.tree.end(node) > index * self.page_tokens)
            .collect();
        for node in path {
            let run = self.tree.value_mut(node);
            let held = &mut run.pages[index - run.first];
            if *held != page {
                let older = std::mem::replace(held, page);
                self.ledger.retain_tree(page);
                self.ledger.release_tree(older);
            }
        }
    }

    fn advance(&mut self, sequence: &mut Sequence, node: NodeId, end: usize) {
        self.tree.lock(node);
        self.tree
            .unlock(std::mem::replace(&mut sequence.node, node));
        self.tree.touch(node);
        sequence.committed = end;
    }
}
