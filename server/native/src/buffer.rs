//! Arrays across the border: numbers in, packed bytes out.

use std::ffi::CStr;
use std::marker::PhantomData;

use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView};

/// A plain number: no padding, and every pattern of its bits is a value.
pub(crate) trait Number: Copy {
    /// What messages call it.
    const NAME: &str;
    /// Letters of the `struct` module for it, in native byte order.
    const LETTERS: &[u8];
}

impl Number for u8 {
    const NAME: &str = "uint8";
    const LETTERS: &[u8] = b"B";
}

impl Number for u16 {
    const NAME: &str = "uint16";
    const LETTERS: &[u8] = b"H";
}

impl Number for u32 {
    const NAME: &str = "uint32";
    const LETTERS: &[u8] = b"IL";
}

impl Number for i32 {
    const NAME: &str = "int32";
    const LETTERS: &[u8] = b"il";
}

impl Number for u64 {
    const NAME: &str = "uint64";
    const LETTERS: &[u8] = b"QLN";
}

impl Number for f32 {
    const NAME: &str = "float32";
    const LETTERS: &[u8] = b"f";
}

/// A C-contiguous buffer of numbers, or of bytes that pack them.
pub(crate) struct Items<T> {
    buffer: PyUntypedBuffer,
    item: PhantomData<T>,
}

impl<T: Number> Items<T> {
    /// Borrows the memory of `object`; `name` is what messages call it.
    pub(crate) fn new(name: &str, object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let wrong = |what: String| {
            let wanted = format!("expected a C-contiguous buffer of {}", T::NAME);
            PyValueError::new_err(format!("{name} {what}, {wanted}"))
        };
        let buffer = PyUntypedBuffer::get(object)
            .map_err(|_| wrong(format!("is a {}", object.get_type())))?;
        if !is_packed_bytes(&buffer) && !is_number::<T>(&buffer) {
            let format = buffer.format().to_string_lossy();
            return Err(wrong(format!("has items of format {format:?}")));
        }
        if !buffer.is_c_contiguous() {
            return Err(wrong("is not contiguous".to_owned()));
        }
        if !buffer.len_bytes().is_multiple_of(size_of::<T>()) {
            return Err(wrong(format!("has {} bytes", buffer.len_bytes())));
        }
        if !buffer.buf_ptr().cast::<T>().is_aligned() {
            return Err(wrong("is not aligned".to_owned()));
        }
        Ok(Self {
            buffer,
            item: PhantomData,
        })
    }

    /// The numbers, in place.
    ///
    /// Python code that writes to the object meanwhile, which other threads can once the interpreter
    /// is released, changes what is read; callers hand over arrays that nobody writes to.
    pub(crate) fn as_slice(&self) -> &[T] {
        let length = self.buffer.len_bytes() / size_of::<T>();
        if length == 0 {
            return &[]; // an empty buffer may be without an address
        }
        #[expect(unsafe_code, reason = "the buffer protocol speaks in raw pointers")]
        // SAFETY: the memory is exported to us as long as `buffer` lives, is contiguous, aligned and
        // holds `length` items (checked in `new`), for which every bit pattern is a value.
        unsafe {
            std::slice::from_raw_parts(self.buffer.buf_ptr().cast(), length)
        }
    }
}

fn is_packed_bytes(buffer: &PyUntypedBuffer) -> bool {
    buffer.item_size() == 1 && buffer.format() == c"B"
}

fn is_number<T: Number>(buffer: &PyUntypedBuffer) -> bool {
    buffer.item_size() == size_of::<T>() && T::LETTERS.contains(&native_letter(buffer.format()))
}

/// The type letter of a format of one item in this machine's byte order, 0 for any other format.
fn native_letter(format: &CStr) -> u8 {
    let own_order = if cfg!(target_endian = "little") {
        b'<'
    } else {
        b'>'
    };
    match format.to_bytes() {
        [letter] | [b'@' | b'=', letter] => *letter,
        [order, letter] if *order == own_order => *letter,
        _ => 0,
    }
}

/// Numbers as a memoryview of a new bytes object.
pub(crate) fn view<'py, T: Number>(py: Python<'py>, items: &[T]) -> PyResult<Bound<'py, PyAny>> {
    #[expect(unsafe_code, reason = "plain numbers are read as their bytes")]
    // SAFETY: numbers have no padding, and `items` lives for the length of the call.
    let bytes = unsafe { std::slice::from_raw_parts(items.as_ptr().cast(), size_of_val(items)) };
    let flat = PyMemoryView::from(&PyBytes::new(py, bytes))?;
    flat.call_method1("cast", (char::from(T::LETTERS[0]),))
}
