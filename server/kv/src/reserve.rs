//! Memory made ready for pages before they are used.
//!
//! The first write to a piece of the pool waits for the kernel, which finds and clears memory: on a
//! virtual machine up to a millisecond a megabyte, a tenth of the time of a short prefill. So a server
//! that has nothing to do has the next pages populated.

use std::sync::Arc;

use crate::arena::PagePool;
use crate::ledger::PageId;

/// Bytes that are kept ready behind the pages in use.
pub const RESERVE_BYTES: usize = 64 << 20;

/// Bytes that one call makes ready, so that it is soon over.
const STEP_BYTES: usize = 2 << 20;

/// The populated pages behind those that were ever used.
#[derive(Debug)]
pub struct Reserve {
    pool: Arc<PagePool>,
    /// Pages before this one were populated, or used before they could be.
    end: PageId,
}

impl Reserve {
    /// Nothing is ready yet.
    #[must_use]
    pub fn new(pool: Arc<PagePool>) -> Self {
        Self { pool, end: 0 }
    }

    /// Makes some more pages from `first_fresh` on ready. False when the reserve was full.
    pub fn grow(&mut self, first_fresh: PageId) -> bool {
        let page_bytes = self.pool.page_bytes();
        let pages = |bytes: usize| u32::try_from(bytes.div_ceil(page_bytes)).unwrap_or(u32::MAX);
        let begin = self.end.max(first_fresh);
        let full = first_fresh.saturating_add(pages(RESERVE_BYTES));
        let end = begin
            .saturating_add(pages(STEP_BYTES))
            .min(full)
            .min(self.pool.num_pages());
        if begin >= end {
            return false;
        }
        self.pool.populate(begin..end);
        self.end = end;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(reserve: &mut Reserve, first_fresh: PageId) -> (usize, PageId) {
        let calls = std::iter::repeat_with(|| reserve.grow(first_fresh))
            .take_while(|&grew| grew)
            .count();
        (calls, reserve.end)
    }

    #[test]
    fn keeps_its_size_ahead_of_the_pages_in_use() {
        let pool = PagePool::new(100, 1 << 20).expect("a pool can be mapped");
        let mut reserve = Reserve::new(Arc::new(pool));
        assert_eq!(filled(&mut reserve, 0), (32, 64));
        assert_eq!(filled(&mut reserve, 0), (0, 64));
        assert_eq!(filled(&mut reserve, 3), (2, 67));
        assert_eq!(
            filled(&mut reserve, 90),
            (5, 100),
            "no further than the pool"
        );
        assert_eq!(filled(&mut reserve, 100), (0, 100));
    }

    #[test]
    fn a_page_larger_than_a_call_is_populated_whole() {
        let pool = PagePool::new(100, 40 << 20).expect("a pool can be mapped");
        let mut reserve = Reserve::new(Arc::new(pool));
        assert_eq!(filled(&mut reserve, 0), (2, 2));
    }
}
