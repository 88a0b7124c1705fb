//! Host KV pages: the memory they live in and the prefix cache that owns them.
//!
//! `PagePool` is the memory alone; what a page means is the executor's affair. `PageCache` decides
//! who holds which page: the radix tree of committed tokens, open sequences, or nobody.

mod arena;
mod cache;
mod ledger;
mod memory;
mod reserve;

pub use arena::PagePool;
pub use cache::{CacheError, Copy, PageCache, SequenceId};
pub use ledger::{PageCounts, PageId};
pub use memory::available_memory_bytes;
pub use prefix_tree::Segment;
pub use reserve::{RESERVE_BYTES, Reserve};
