//! The prefix cache: a tree of committed tokens with their pages, and the sequences that run.
//!
//! Every node holds one reference on each page that its tokens touch. A page that a node border
//! cuts is held by both nodes; where a path comes to hold several pages for one page index, the
//! deepest node's is the right one: whoever wrote it copied the tokens before it first.
//!
//! ```text
//! page_tokens = 4      page index    0        1        2
//! path                            a b c d  e f g h  i j
//! node A  0..6                    [  p0 ]  [ p1 ]                p1 holds e f
//! node B  6..10, committed by a           [    p2 ] [ p3 ]       p2 is a copy of p1 with g h added;
//! sequence that matched A                                        A gives p1 up and holds p2 too
//! ```
//!
//! A sequence writes only pages it took itself, and in these only cells behind what it committed,
//! so no cell that the tree shows is ever written again.

use std::collections::HashMap;

use prefix_tree::{NodeId, PrefixTree, Segment};

use crate::ledger::{Ledger, PageCounts, PageId};

mod check;
mod commit;
mod evict;
#[cfg(test)]
mod tests;

/// Names an open sequence; never reused.
pub type SequenceId = u64;

/// A page copy (source, destination).
pub type Copy = (PageId, PageId);

/// What a caller got wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CacheError {
    /// No open sequence has the id.
    #[error("sequence {0} is not open")]
    UnknownSequence(SequenceId),
    /// Tokens would be committed whose pages were never reserved.
    #[error("commit up to token {end}, but only {reserved} tokens are reserved")]
    NotReserved {
        /// Tokens the commit would reach.
        end: usize,
        /// Tokens that pages are reserved for.
        reserved: usize,
    },
    /// `rematch` of a sequence that has pages of its own.
    #[error("sequence {0} has reserved pages and cannot be matched again")]
    AlreadyReserved(SequenceId),
}

/// Pages of a node's tokens.
#[derive(Debug, Default)]
struct PageRun {
    /// Page index of `pages[0]`.
    first: usize,
    pages: Vec<PageId>,
}

#[derive(Debug)]
struct Sequence {
    /// What `open` was given, to match again: (domain, length) and tokens.
    spans: Vec<(u64, usize)>,
    tokens: Vec<u32>,
    limit: usize,
    /// Locked; ends where the committed path ends.
    node: NodeId,
    cached: usize,
    committed: usize,
    /// Tokens that the table covers.
    reserved: usize,
    table: Vec<PageId>,
    /// The last page of the table is the tree's and must be copied before it is written.
    tail_is_shared: bool,
    /// Source of a copy that the executor may not have made yet.
    copy_source: Option<PageId>,
}

impl Sequence {
    /// The page that has the committed cells of a page index for certain: while a copy may be still to
    /// be made, or may never be, its source.
    fn written_page(&self, index: usize, page_tokens: usize) -> PageId {
        match self.copy_source {
            Some(source) if index == self.cached / page_tokens => source,
            _ => self.table[index],
        }
    }
}

/// Owner of all pages of a pool.
#[derive(Debug)]
pub struct PageCache {
    page_tokens: usize,
    enabled: bool,
    tree: PrefixTree<PageRun>,
    ledger: Ledger,
    sequences: HashMap<SequenceId, Sequence>,
    next_id: SequenceId,
    evictions: u64,
}

impl PageCache {
    /// A cache over `num_pages` pages of `page_tokens` tokens, at least one each. Not `enabled`
    /// means that nothing is matched and nothing kept.
    #[must_use]
    pub fn new(num_pages: u32, page_tokens: usize, enabled: bool) -> Self {
        Self {
            page_tokens,
            enabled,
            tree: PrefixTree::new(PageRun::default()),
            ledger: Ledger::new(num_pages),
            sequences: HashMap::new(),
            next_id: 0,
            evictions: 0,
        }
    }

    /// Tokens of a page.
    #[must_use]
    pub fn page_tokens(&self) -> usize {
        self.page_tokens
    }

    /// Starts a sequence on the longest cached prefix of at most `limit` tokens.
    pub fn open(&mut self, path: &[Segment<'_>], limit: usize) -> SequenceId {
        let id = self.next_id;
        self.next_id += 1;
        let root = self.tree.root();
        self.tree.lock(root);
        let sequence = Sequence {
            spans: path
                .iter()
                .map(|segment| (segment.domain, segment.tokens.len()))
                .collect(),
            tokens: path
                .iter()
                .map(|segment| segment.tokens)
                .collect::<Vec<_>>()
                .concat(),
            limit,
            node: root,
            cached: 0,
            committed: 0,
            reserved: 0,
            table: Vec::new(),
            tail_is_shared: false,
            copy_source: None,
        };
        self.sequences.insert(id, sequence);
        self.match_longest(id);
        id
    }

    /// Looks again for a longer prefix, for a sequence that has reserved nothing. Returns its length.
    ///
    /// # Errors
    /// `UnknownSequence`, `AlreadyReserved`.
    pub fn rematch(&mut self, id: SequenceId) -> Result<usize, CacheError> {
        let sequence = self.sequence(id)?;
        if sequence.reserved > sequence.cached {
            return Err(CacheError::AlreadyReserved(id));
        }
        Ok(self.match_longest(id))
    }

    /// Length of the prefix that was found in the cache.
    ///
    /// # Errors
    /// `UnknownSequence`.
    pub fn cached_tokens(&self, id: SequenceId) -> Result<usize, CacheError> {
        Ok(self.sequence(id)?.cached)
    }

    /// Tokens that were matched or committed.
    ///
    /// # Errors
    /// `UnknownSequence`.
    pub fn committed_tokens(&self, id: SequenceId) -> Result<usize, CacheError> {
        Ok(self.sequence(id)?.committed)
    }

    /// The place in the tree where the committed path ends. With the cache off every sequence has a
    /// place of its own: nothing says that two paths are equal.
    ///
    /// # Errors
    /// `UnknownSequence`.
    pub fn node(&self, id: SequenceId) -> Result<u64, CacheError> {
        let node = self.sequence(id)?.node;
        Ok(if self.enabled { node.as_u64() } else { id })
    }

    /// The page table.
    ///
    /// # Errors
    /// `UnknownSequence`.
    pub fn pages(&self, id: SequenceId) -> Result<&[PageId], CacheError> {
        Ok(&self.sequence(id)?.table)
    }

    /// Makes the page table cover `length` tokens. Returns the copies to make before anything is
    /// written, or `None` when too few pages can be had; the sequence is then unchanged.
    ///
    /// # Errors
    /// `UnknownSequence`.
    pub fn reserve(
        &mut self,
        id: SequenceId,
        length: usize,
    ) -> Result<Option<Vec<Copy>>, CacheError> {
        let sequence = self.sequence(id)?;
        if length <= sequence.reserved {
            return Ok(Some(Vec::new()));
        }
        let pages = length.div_ceil(self.page_tokens) - sequence.table.len();
        if !self.make_room(pages + usize::from(sequence.tail_is_shared)) {
            return Ok(None);
        }
        let sequence = self.sequences.get_mut(&id).expect("found above");
        let mut take = || self.ledger.take().expect("there is room");
        let mut copies = Vec::new();
        if std::mem::take(&mut sequence.tail_is_shared) {
            let tail = sequence.table.last_mut().expect("a shared tail is a page");
            let source = std::mem::replace(tail, take());
            copies.push((source, *tail));
            sequence.copy_source = Some(source);
        }
        sequence
            .table
            .extend(std::iter::repeat_with(take).take(pages));
        sequence.reserved = length;
        sequence.tokens = Vec::new(); // it cannot be matched again
        Ok(Some(copies))
    }

    /// Ends a sequence: what it committed stays in the tree, its other pages are free.
    ///
    /// # Errors
    /// `UnknownSequence`.
    pub fn close(&mut self, id: SequenceId) -> Result<(), CacheError> {
        let sequence = self
            .sequences
            .remove(&id)
            .ok_or(CacheError::UnknownSequence(id))?;
        for page in sequence.table.into_iter().chain(sequence.copy_source) {
            self.ledger.release_sequence(page);
        }
        self.tree.touch(sequence.node);
        self.tree.unlock(sequence.node);
        Ok(())
    }

    /// Pages by state.
    #[must_use]
    pub fn counts(&self) -> PageCounts {
        self.ledger.counts()
    }

    /// The first of the pages that were never used; all behind it were not either, and they are used
    /// in order, once no other page is free.
    #[must_use]
    pub fn first_fresh_page(&self) -> PageId {
        self.ledger.fresh()
    }

    /// Pages evicted since the start.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    fn sequence(&self, id: SequenceId) -> Result<&Sequence, CacheError> {
        self.sequences
            .get(&id)
            .ok_or(CacheError::UnknownSequence(id))
    }

    /// Puts a sequence that has no pages of its own on the longest cached prefix.
    fn match_longest(&mut self, id: SequenceId) -> usize {
        if !self.enabled {
            return 0;
        }
        let Self {
            tree, sequences, ..
        } = self;
        let sequence = &sequences[&id];
        let found =
            tree.longest_prefix(&segments(&sequence.spans, &sequence.tokens), sequence.limit);
        let node = self.split_at(found.node, found.length);
        let table = self.table_of(node);
        table
            .iter()
            .for_each(|&page| self.ledger.retain_sequence(page));
        self.tree.lock(node);
        self.tree.touch(node);
        let sequence = self.sequences.get_mut(&id).expect("the caller has it");
        let old = std::mem::replace(&mut sequence.table, table);
        self.tree
            .unlock(std::mem::replace(&mut sequence.node, node));
        old.into_iter()
            .for_each(|page| self.ledger.release_sequence(page));
        sequence.cached = found.length;
        sequence.committed = found.length;
        sequence.reserved = found.length;
        sequence.tail_is_shared = found.length % self.page_tokens != 0;
        found.length
    }

    /// The node that ends at `depth`: `node` itself, or its upper part.
    fn split_at(&mut self, node: NodeId, depth: usize) -> NodeId {
        if depth == self.tree.end(node) {
            return node;
        }
        let (page_tokens, ledger) = (self.page_tokens, &mut self.ledger);
        self.tree.split(node, depth, |run| {
            let kept = depth.div_ceil(page_tokens) - run.first;
            let lower_first = depth / page_tokens;
            let upper = PageRun {
                first: run.first,
                pages: run.pages[..kept].to_vec(),
            };
            let lower = run.pages.split_off(lower_first - run.first);
            if lower_first < run.first + kept {
                ledger.retain_tree(lower[0]); // the border cuts this page: both hold it
            }
            *run = PageRun {
                first: lower_first,
                pages: lower,
            };
            upper
        })
    }

    /// The pages of the path to a node, the deepest node's for each page index.
    fn table_of(&self, node: NodeId) -> Vec<PageId> {
        let mut table = vec![PageId::MAX; self.tree.end(node).div_ceil(self.page_tokens)];
        let mut open = table.len();
        for ancestor in self.tree.ancestors(node) {
            let run = self.tree.value(ancestor);
            let take = open.saturating_sub(run.first).min(run.pages.len());
            table[run.first..run.first + take].copy_from_slice(&run.pages[..take]);
            open = open.min(run.first);
        }
        table
    }
}

fn segments<'a>(spans: &[(u64, usize)], mut tokens: &'a [u32]) -> Vec<Segment<'a>> {
    let mut segments = Vec::with_capacity(spans.len());
    for &(domain, length) in spans {
        let (head, rest) = tokens.split_at(length);
        segments.push(Segment {
            domain,
            tokens: head,
        });
        tokens = rest;
    }
    segments
}
