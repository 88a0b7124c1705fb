//! Rows of floats at a fixed distance, read or written by several threads.

use std::marker::PhantomData;

/// Rows that nobody writes meanwhile.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    data: &'a [f32],
    stride: usize,
}

impl<'a> Rows<'a> {
    /// Row i begins at `data[i * stride]`.
    #[must_use]
    pub fn new(data: &'a [f32], stride: usize) -> Self {
        Self { data, stride }
    }

    /// `width` floats of a row from `offset` on.
    ///
    /// # Panics
    /// When they are not there.
    #[inline(always)]
    pub(super) fn cells(&self, row: usize, offset: usize, width: usize) -> &'a [f32] {
        &self.data[row * self.stride + offset..][..width]
    }
}

/// Rows that several threads write, each its own cells.
#[derive(Debug, Clone, Copy)]
pub struct RowsMut<'a> {
    base: *mut f32,
    stride: usize,
    len: usize,
    owner: PhantomData<&'a mut [f32]>,
}

// SAFETY: which thread writes which cells is the contract of the functions that do.
unsafe impl Send for RowsMut<'_> {}
// SAFETY: as above.
unsafe impl Sync for RowsMut<'_> {}

impl<'a> RowsMut<'a> {
    /// Row i begins at `data[i * stride]`.
    #[must_use]
    pub fn new(data: &'a mut [f32], stride: usize) -> Self {
        Self {
            base: data.as_mut_ptr(),
            stride,
            len: data.len(),
            owner: PhantomData,
        }
    }

    /// The same for rows that are shared by address.
    ///
    /// # Safety
    /// `base` shows `len` floats that live as long as the view.
    #[must_use]
    pub unsafe fn from_raw(base: *mut f32, len: usize, stride: usize) -> Self {
        Self {
            base,
            stride,
            len,
            owner: PhantomData,
        }
    }

    /// Address of `width` floats of a row from `offset` on.
    ///
    /// # Panics
    /// When they are not there.
    #[inline(always)]
    pub(super) fn cells(&self, row: usize, offset: usize, width: usize) -> *mut f32 {
        let start = row * self.stride + offset;
        assert!(start + width <= self.len, "row {row} is not there");
        // SAFETY: within the slice.
        unsafe { self.base.add(start) }
    }
}
