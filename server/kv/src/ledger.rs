//! Who holds each page: reference counts of tree and sequences, and the list of free pages.

/// Index of a page in the pool.
pub type PageId = u32;

/// Pages by state; free + cached + referenced = total.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageCounts {
    /// All pages.
    pub total: usize,
    /// In nobody's hands.
    pub free: usize,
    /// In the tree's hands alone.
    pub cached: usize,
    /// In the hands of at least one open sequence.
    pub referenced: usize,
}

/// References of one page.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Holders {
    pub(crate) tree: u32,
    pub(crate) sequences: u32,
}

#[derive(Debug)]
pub(crate) struct Ledger {
    holders: Vec<Holders>,
    free: Vec<PageId>,
    referenced: usize,
    /// Pages from this one on were never taken.
    fresh: PageId,
}

impl Ledger {
    pub(crate) fn new(num_pages: u32) -> Self {
        Self {
            holders: vec![Holders::default(); num_pages as usize],
            free: (0..num_pages).rev().collect(),
            referenced: 0,
            fresh: 0,
        }
    }

    /// The first of the pages that were never taken; they are taken in order, once no other is free.
    pub(crate) fn fresh(&self) -> PageId {
        self.fresh
    }

    pub(crate) fn counts(&self) -> PageCounts {
        let (total, free) = (self.holders.len(), self.free.len());
        let cached = total - free - self.referenced;
        PageCounts {
            total,
            free,
            cached,
            referenced: self.referenced,
        }
    }

    /// A free page, now held by one sequence.
    pub(crate) fn take(&mut self) -> Option<PageId> {
        let page = self.free.pop()?;
        self.fresh = self.fresh.max(page + 1);
        self.retain_sequence(page);
        Some(page)
    }

    pub(crate) fn retain_sequence(&mut self, page: PageId) {
        let holders = &mut self.holders[page as usize];
        self.referenced += usize::from(holders.sequences == 0);
        holders.sequences += 1;
    }

    pub(crate) fn release_sequence(&mut self, page: PageId) {
        let holders = &mut self.holders[page as usize];
        holders.sequences -= 1;
        self.referenced -= usize::from(holders.sequences == 0);
        self.free_if_unheld(page);
    }

    pub(crate) fn retain_tree(&mut self, page: PageId) {
        self.holders[page as usize].tree += 1;
    }

    /// Whether the page is free now.
    pub(crate) fn release_tree(&mut self, page: PageId) -> bool {
        self.holders[page as usize].tree -= 1;
        self.free_if_unheld(page)
    }

    fn free_if_unheld(&mut self, page: PageId) -> bool {
        let unheld = self.holders[page as usize] == Holders::default();
        if unheld {
            self.free.push(page);
        }
        unheld
    }

    /// Compares the books with the holders that were found by walking tree and sequences.
    pub(crate) fn check(&self, found: &[Holders]) -> Result<(), String> {
        let mut is_free = vec![false; self.holders.len()];
        for &page in &self.free {
            if std::mem::replace(&mut is_free[page as usize], true) {
                return Err(format!("page {page} is free twice"));
            }
        }
        for (page, (booked, found)) in self.holders.iter().zip(found).enumerate() {
            if booked != found {
                return Err(format!(
                    "page {page} is booked as {booked:?}, found {found:?}"
                ));
            }
            if is_free[page] != (*booked == Holders::default()) {
                return Err(format!("page {page} is both free and held, or neither"));
            }
        }
        let referenced = found.iter().filter(|holders| holders.sequences > 0).count();
        if referenced != self.referenced {
            return Err(format!(
                "{} pages are booked as referenced, {referenced} are",
                self.referenced
            ));
        }
        Ok(())
    }
}
