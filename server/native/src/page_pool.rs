//! `PagePool`: the memory of all pages, as a writable buffer.

use std::ffi::{c_int, c_void};
use std::sync::Arc;

use pyo3::exceptions::{PyBufferError, PyMemoryError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;

use crate::unsigned::Unsigned;

/// All host KV pages, in one arena.
#[pyclass(frozen, module = "text_generation_server._native")]
pub(crate) struct PagePool(pub(crate) Arc<kv::PagePool>);

#[pymethods]
impl PagePool {
    #[new]
    fn new(num_pages: Unsigned<u32>, page_bytes: Unsigned<usize>) -> PyResult<Self> {
        let (num_pages, page_bytes) = (num_pages.0, page_bytes.0);
        if i32::try_from(num_pages).is_err() {
            let text = format!(
                "{num_pages} pages, limit is {}: page ids are int32",
                i32::MAX
            );
            return Err(PyValueError::new_err(text));
        }
        let pool = kv::PagePool::new(num_pages, page_bytes).map_err(|error| {
            let text = format!("a pool of {num_pages} pages of {page_bytes} bytes: {error}");
            match error.kind() {
                std::io::ErrorKind::InvalidInput => PyValueError::new_err(text),
                _ => PyMemoryError::new_err(text),
            }
        })?;
        Ok(Self(Arc::new(pool)))
    }

    #[getter]
    pub(crate) fn num_pages(&self) -> u32 {
        self.0.num_pages()
    }

    #[getter]
    fn page_bytes(&self) -> usize {
        self.0.page_bytes()
    }

    #[expect(unsafe_code, reason = "the buffer protocol speaks in raw pointers")]
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        if view.is_null() {
            return Err(PyBufferError::new_err("no view to fill"));
        }
        let pool = &slf.get().0;
        let (address, bytes) = (
            pool.as_ptr().cast::<c_void>(),
            pool.bytes() as ffi::Py_ssize_t,
        );
        // SAFETY: `view` is the caller's to fill; the memory lives as long as the pool, and the view
        // holds a reference on the object that owns it.
        let filled =
            unsafe { ffi::PyBuffer_FillInfo(view, slf.as_ptr(), address, bytes, 0, flags) };
        if filled == 0 {
            Ok(())
        } else {
            Err(PyErr::fetch(slf.py()))
        }
    }
}
