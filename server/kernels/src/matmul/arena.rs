//! The memory of packed weights.
#![expect(unsafe_code, reason = "memory comes from the allocator as an address")]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::Arc;

/// Huge pages of x86-64 and most others.
const HUGE_PAGE: usize = 2 << 20;
/// Memory asked for at once; given by the system as it is touched.
const CHUNK_BYTES: usize = 64 << 20;
/// A cache line.
const ALIGNMENT: usize = 64;

/// Memory in ascending order: what is taken one after the other lies one after the other, so that a
/// thread whose weights were packed in the order of use reads one stream.
#[derive(Debug, Default)]
pub struct Arena {
    chunk: Option<Arc<Chunk>>,
    used: usize,
}

/// A piece of an arena, which keeps its memory alive.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    chunk: Arc<Chunk>,
    offset: usize,
}

/// Memory that is not initialised, in huge pages where the system has them.
#[derive(Debug)]
struct Chunk {
    address: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the memory belongs to the value alone and is reached through raw pointers only, whose
// users order their accesses.
unsafe impl Send for Chunk {}
// SAFETY: as above.
unsafe impl Sync for Chunk {}

impl Arena {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes `bytes` bytes, not initialised, at a multiple of 64.
    pub(super) fn take(&mut self, bytes: usize) -> Piece {
        let size = bytes.next_multiple_of(ALIGNMENT);
        let chunk = match &self.chunk {
            Some(chunk) if chunk.layout.size() - self.used >= size => Arc::clone(chunk),
            _ => {
                let chunk = Arc::new(Chunk::new(size.max(CHUNK_BYTES)));
                self.chunk = Some(Arc::clone(&chunk));
                self.used = 0;
                chunk
            }
        };
        let offset = self.used;
        self.used += size;
        Piece { chunk, offset }
    }
}

impl Piece {
    /// Its first byte.
    pub(super) fn as_ptr(&self) -> *mut u8 {
        self.chunk.address.as_ptr().wrapping_add(self.offset)
    }
}

impl Chunk {
    fn new(bytes: usize) -> Self {
        let layout = Layout::from_size_align(bytes.next_multiple_of(HUGE_PAGE), HUGE_PAGE)
            .expect("weights are smaller than the address space");
        // SAFETY: the size is not 0.
        let Some(address) = NonNull::new(unsafe { alloc(layout) }) else {
            handle_alloc_error(layout)
        };
        #[cfg(target_os = "linux")]
        {
            use rustix::mm::{Advice, madvise};
            // SAFETY: the range was just allocated. Huge pages are a wish: a refusal is fine.
            let _ = unsafe {
                madvise(
                    address.as_ptr().cast(),
                    layout.size(),
                    Advice::LinuxHugepage,
                )
            };
        }
        Self { address, layout }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, and nobody else frees it.
        unsafe { dealloc(self.address.as_ptr(), self.layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_ascend_and_outlive_the_arena() {
        let mut arena = Arena::new();
        let pieces: Vec<Piece> = (0..4).map(|_| arena.take(100)).collect();
        let large = arena.take(CHUNK_BYTES + 1);
        drop(arena);
        for pair in pieces.windows(2) {
            assert_eq!(pair[1].as_ptr() as usize - pair[0].as_ptr() as usize, 128);
        }
        assert_eq!(large.as_ptr() as usize % ALIGNMENT, 0);
        // SAFETY: the piece has that many bytes.
        unsafe { large.as_ptr().add(CHUNK_BYTES).write(1) };
    }
}
