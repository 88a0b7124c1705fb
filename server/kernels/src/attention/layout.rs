//! Where keys and values lie in a page.
//!
//! A page is `[layer][kv head][keys | values]`; keys and values of one page and head are one piece
//! of memory, which decoding reads from front to back.
//!
//! | | keys | values |
//! |---|---|---|
//! | bf16 | `[D / 2][32 tokens][2]` | `[32 / 2 tokens][D][2]` |
//! | int8 | `[D / 4][32 tokens][4]` biased by 128, `f32[32]` scales | `[32 / 4 tokens][D][4]`, `f32[32]` scales |
//!
//! The inner index is what one instruction sums over.

use std::ops::Range;
use std::ptr::NonNull;

use super::PAGE_TOKENS;
use super::error::LayoutError;
use crate::simd::LANES;

/// Largest head.
pub(super) const MAX_DIM: usize = 256;

/// Bytes of one scale a token.
const SCALE_BYTES: usize = PAGE_TOKENS * size_of::<f32>();

/// How keys and values are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KvKind {
    /// bfloat16.
    Bf16,
    /// 8 bits with a scale a token and head; keys behind a Hadamard rotation.
    Int8,
}

/// The inside of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvLayout {
    kind: KvKind,
    num_layers: usize,
    num_kv_heads: usize,
    head_dim: usize,
}

impl KvLayout {
    /// # Errors
    /// When the head is larger than 256 or a count is 0.
    pub fn new(
        kind: KvKind,
        num_layers: usize,
        num_kv_heads: usize,
        head_dim: usize,
    ) -> Result<Self, LayoutError> {
        if !(1..=MAX_DIM).contains(&head_dim) {
            return Err(LayoutError::HeadDim(head_dim));
        }
        let counts = 1..=1 << 16;
        if !counts.contains(&num_layers) || !counts.contains(&num_kv_heads) {
            return Err(LayoutError::Counts {
                layers: num_layers,
                heads: num_kv_heads,
            });
        }
        Ok(Self {
            kind,
            num_layers,
            num_kv_heads,
            head_dim,
        })
    }

    /// How keys and values are kept.
    #[must_use]
    pub fn kind(&self) -> KvKind {
        self.kind
    }

    /// Layers of a page.
    #[must_use]
    pub fn num_layers(&self) -> usize {
        self.num_layers
    }

    /// Key-value heads of a layer.
    #[must_use]
    pub fn num_kv_heads(&self) -> usize {
        self.num_kv_heads
    }

    /// Values of a head, as the model has them.
    #[must_use]
    pub fn head_dim(&self) -> usize {
        self.head_dim
    }

    /// Bytes of a page: [`PAGE_TOKENS`] tokens in all layers. A multiple of 64.
    #[must_use]
    pub fn page_bytes(&self) -> usize {
        self.num_layers * self.num_kv_heads * self.head_bytes()
    }

    /// Values of a head, padded with zeros to whole vectors.
    pub(super) fn dim(&self) -> usize {
        self.head_dim.next_multiple_of(LANES)
    }

    /// Bytes of the keys of one page and head; those of the values are as many.
    pub(super) fn half_bytes(&self) -> usize {
        match self.kind {
            KvKind::Bf16 => PAGE_TOKENS * self.dim() * 2,
            KvKind::Int8 => PAGE_TOKENS * self.dim() + SCALE_BYTES,
        }
    }

    /// Bytes of keys and values of one page and head.
    pub(super) fn head_bytes(&self) -> usize {
        2 * self.half_bytes()
    }
}

/// The pool's pages.
#[derive(Debug, Clone, Copy)]
pub struct Pages {
    layout: KvLayout,
    base: NonNull<u8>,
    count: usize,
}

// SAFETY: an address alone; who reads and writes what is the contract of the functions that do.
unsafe impl Send for Pages {}
// SAFETY: as above.
unsafe impl Sync for Pages {}

impl Pages {
    /// # Safety
    /// `base` shows `count * layout.page_bytes()` bytes, initialized, for as long as this and its
    /// copies are used, and nobody else touches the pages that a step's tables name meanwhile.
    ///
    /// # Panics
    /// Unless `base` is a multiple of 64.
    #[must_use]
    pub unsafe fn new(layout: KvLayout, base: NonNull<u8>, count: usize) -> Self {
        assert!(
            base.addr().get().is_multiple_of(64),
            "pages must start at a multiple of 64"
        );
        Self {
            layout,
            base,
            count,
        }
    }

    /// The inside of each.
    #[must_use]
    pub fn layout(&self) -> &KvLayout {
        &self.layout
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Copies some bytes of a page to the same place in another one.
    ///
    /// # Safety
    /// Nobody else touches these bytes meanwhile.
    ///
    /// # Panics
    /// When a page is not there, or the bytes are not in it.
    pub unsafe fn copy(&self, from: usize, to: usize, bytes: Range<usize>) {
        let size = self.layout.page_bytes();
        assert!(
            from < self.count && to < self.count && bytes.end <= size,
            "page {from} to {to}"
        );
        // SAFETY: both are within the pages; equal ones are allowed.
        unsafe {
            let [from, to] = [from, to].map(|page| self.base.add(page * size + bytes.start));
            from.copy_to(to, bytes.len());
        }
    }

    /// Address of a page's keys in one layer and head; the values follow.
    ///
    /// # Safety
    /// Page, layer and head are there.
    #[inline(always)]
    pub(super) unsafe fn keys(&self, page: usize, layer: usize, head: usize) -> *mut u8 {
        debug_assert!(page < self.count && layer < self.layout.num_layers);
        let index = layer * self.layout.num_kv_heads + head;
        // SAFETY: within the pages, by the caller's promise.
        unsafe {
            let page = self.base.as_ptr().add(page * self.layout.page_bytes());
            page.add(index * self.layout.head_bytes())
        }
    }
}
