#![expect(unsafe_code, reason = "memory comes from the kernel as a raw mapping")]
//! The memory of all host KV pages.

use std::ffi::c_void;
use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::ptr::NonNull;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// One anonymous mapping of `num_pages * page_bytes` bytes, reserved at once, given memory by the
/// kernel as it is touched, in huge pages where the kernel has them. Zero until written.
#[derive(Debug)]
pub struct PagePool {
    address: NonNull<c_void>,
    num_pages: u32,
    page_bytes: usize,
}

// SAFETY: the mapping belongs to the value alone and is reached through raw pointers only, whose
// users have to order their accesses themselves.
unsafe impl Send for PagePool {}
// SAFETY: as above; the methods read plain fields.
unsafe impl Sync for PagePool {}

impl PagePool {
    /// Reserves the memory.
    ///
    /// # Errors
    /// `InvalidInput` for a size of 0 or beyond the address space; what the kernel says when it
    /// cannot map that much.
    pub fn new(num_pages: u32, page_bytes: usize) -> io::Result<Self> {
        let bytes = (num_pages as usize)
            .checked_mul(page_bytes)
            .filter(|&bytes| isize::try_from(bytes).is_ok())
            .and_then(NonZeroUsize::new)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "pool size out of range"))?;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches nothing.
        let address =
            unsafe { mmap_anonymous(std::ptr::null_mut(), bytes.get(), protection, flags)? };
        // SAFETY: the range is the mapping just made. Huge pages are a wish: a refusal is fine.
        let _ = unsafe { madvise(address, bytes.get(), Advice::LinuxHugepage) };
        let address = NonNull::new(address).expect("the kernel maps nothing at address 0");
        Ok(Self {
            address,
            num_pages,
            page_bytes,
        })
    }

    /// Pages in the pool.
    #[must_use]
    pub fn num_pages(&self) -> u32 {
        self.num_pages
    }

    /// Bytes of a page.
    #[must_use]
    pub fn page_bytes(&self) -> usize {
        self.page_bytes
    }

    /// Bytes of the whole pool.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.num_pages as usize * self.page_bytes
    }

    /// Has the kernel give these pages their memory now rather than at the first write. A wish: a
    /// kernel that cannot (before Linux 5.14), or that is short of memory, leaves them as they are.
    ///
    /// # Panics
    /// When the pages are not all in the pool.
    pub fn populate(&self, pages: Range<u32>) {
        assert!(pages.start <= pages.end && pages.end <= self.num_pages);
        let page_size = rustix::param::page_size();
        let begin = (pages.start as usize * self.page_bytes).next_multiple_of(page_size);
        let end = (pages.end as usize * self.page_bytes).next_multiple_of(page_size);
        // SAFETY: the range lies in the mapping, which ends at a border of the kernel's pages, and
        // populating changes no contents.
        let _ = unsafe {
            madvise(
                self.address.as_ptr().byte_add(begin),
                end - begin,
                Advice::LinuxPopulateWrite,
            )
        };
    }

    /// First byte of page 0; page `p` begins `p * page_bytes` later. Valid as long as the pool.
    #[must_use]
    pub fn as_ptr(&self) -> *mut u8 {
        self.address.as_ptr().cast()
    }
}

impl Drop for PagePool {
    fn drop(&mut self) {
        // SAFETY: the range is the mapping made in `new`, and nobody else unmaps it.
        let unmapped = unsafe { munmap(self.address.as_ptr(), self.bytes()) };
        debug_assert!(unmapped.is_ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_zero_and_keeps_what_is_written() {
        let pool = PagePool::new(3, 4096).expect("a small pool can be mapped");
        let bytes = unsafe { std::slice::from_raw_parts_mut(pool.as_ptr(), pool.bytes()) };
        assert!(bytes.iter().all(|&byte| byte == 0));
        bytes[2 * 4096] = 7;
        assert_eq!(bytes[2 * 4096], 7);
    }

    #[test]
    fn reserves_more_than_it_touches() {
        let pool = PagePool::new(1 << 20, 1 << 20).expect("address space is not memory");
        assert_eq!(pool.bytes(), 1 << 40);
    }

    #[test]
    fn populating_keeps_contents() {
        let pool = PagePool::new(5, 3000).expect("a small pool can be mapped");
        let bytes = unsafe { std::slice::from_raw_parts_mut(pool.as_ptr(), pool.bytes()) };
        bytes[4000] = 7;
        for pages in [0..0, 0..1, 1..4, 4..5, 5..5] {
            pool.populate(pages);
        }
        assert!(
            bytes
                .iter()
                .enumerate()
                .all(|(at, &byte)| byte == if at == 4000 { 7 } else { 0 })
        );
    }

    #[test]
    fn refuses_impossible_sizes() {
        for (pages, bytes) in [(0, 1), (1, 0), (u32::MAX, usize::MAX / 2)] {
            let error = PagePool::new(pages, bytes).expect_err("the size is out of range");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }
}
