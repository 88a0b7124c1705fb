//! Matrices that all threads of a step write, each its own part.
#![expect(unsafe_code, reason = "threads write disjoint parts of one matrix")]

use crate::attention;
use crate::matmul::{Join, Output};

/// A growing matrix of floats, row after row.
#[derive(Debug)]
pub(super) struct Rows {
    /// Reached through `address` alone.
    _data: Vec<f32>,
    address: *mut f32,
    capacity: usize,
    width: usize,
    rows: usize,
}

// SAFETY: the memory belongs to the value; who writes which part when is the contract of the methods that
// give parts.
unsafe impl Send for Rows {}
// SAFETY: as above.
unsafe impl Sync for Rows {}

impl Rows {
    /// No rows of `width` floats.
    pub(super) fn new(width: usize) -> Self {
        let mut data = Vec::new();
        Self {
            address: data.as_mut_ptr(),
            _data: data,
            capacity: 0,
            width,
            rows: 0,
        }
    }

    /// Makes room for `rows` rows; what they hold is whatever was there.
    pub(super) fn resize(&mut self, rows: usize) {
        if rows > self.capacity {
            let mut data = vec![0.0; rows * self.width];
            self.address = data.as_mut_ptr();
            self._data = data;
            self.capacity = rows;
        }
        self.rows = rows;
    }

    /// A row, while nobody writes it.
    ///
    /// # Safety
    /// No thread writes the row before the reference is gone.
    pub(super) unsafe fn row(&self, index: usize) -> &[f32] {
        assert!(index < self.rows, "row {index} of {}", self.rows);
        // SAFETY: the row is within the memory; the rest is the caller's promise.
        unsafe { std::slice::from_raw_parts(self.address.add(index * self.width), self.width) }
    }

    /// A row to write.
    ///
    /// # Safety
    /// No other thread reads or writes the row before the reference is gone.
    #[expect(
        clippy::mut_from_ref,
        reason = "the caller's promise makes it the only one"
    )]
    pub(super) unsafe fn row_mut(&self, index: usize) -> &mut [f32] {
        assert!(index < self.rows, "row {index} of {}", self.rows);
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.address.add(index * self.width), self.width) }
    }

    /// All rows from a column on, for attention to read.
    ///
    /// # Safety
    /// No thread writes the cells that are read before the view is gone.
    pub(super) unsafe fn cells(&self, offset: usize) -> attention::Rows<'_> {
        let length = self.rows * self.width;
        // SAFETY: the rows are within the memory; the rest is the caller's promise.
        let all = unsafe { std::slice::from_raw_parts(self.address, length) };
        attention::Rows::new(&all[offset.min(length)..], self.width)
    }

    /// All rows, for attention to write.
    ///
    /// # Safety
    /// Nobody else touches the cells that are written before the view is gone.
    pub(super) unsafe fn cells_mut(&self) -> attention::RowsMut<'_> {
        // SAFETY: as above.
        unsafe { attention::RowsMut::from_raw(self.address, self.rows * self.width, self.width) }
    }

    /// The rows from `row` on and of those the columns from `column` on, for a product to write.
    ///
    /// # Safety
    /// Nobody else touches the cells that are written before the view is gone.
    pub(super) unsafe fn output(&self, row: usize, column: usize, join: Join) -> Output<'_> {
        let length = self.rows * self.width;
        let first = (row * self.width + column).min(length);
        // SAFETY: as above.
        unsafe { Output::from_raw(self.address.add(first), length - first, self.width, join) }
    }
}
