//! Arrays across the border: numbers in, packed bytes out.

use pyo3::buffer::{Element, PyBuffer};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView};

/// The items of a C-contiguous buffer, as a copy. Items must have the stated type, or be bytes that
/// pack it.
pub(crate) fn items<T: Element + Default>(name: &str, object: &Bound<'_, PyAny>) -> PyResult<Vec<T>> {
    if let Ok(buffer) = PyBuffer::<T>::get(object) {
        return buffer.to_vec(object.py()).map_err(|_| wrong::<T>(name, "is not contiguous"));
    }
    let bytes = PyBuffer::<u8>::get(object).map_err(|_| wrong::<T>(name, "has other items"))?;
    if bytes.len_bytes() % size_of::<T>() != 0 {
        return Err(wrong::<T>(name, &format!("has {} bytes", bytes.len_bytes())));
    }
    let bytes = bytes.to_vec(object.py())?;
    let mut items = vec![T::default(); bytes.len() / size_of::<T>()];
    #[expect(unsafe_code, reason = "plain numbers are copied out of their bytes")]
    // SAFETY: `Element` is implemented for plain numbers, for which every bit pattern is a value, and
    // the destination has exactly the source's size.
    unsafe {
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), items.as_mut_ptr().cast(), bytes.len());
    }
    Ok(items)
}

fn wrong<T>(name: &str, what: &str) -> PyErr {
    PyValueError::new_err(format!(
        "{name} {what}, expected a C-contiguous buffer of {}",
        std::any::type_name::<T>()
    ))
}

/// Items as a memoryview of a new bytes object, with the type letter of `struct`.
pub(crate) fn view<'py, T: Copy>(
    py: Python<'py>,
    items: &[T],
    letter: &str,
) -> PyResult<Bound<'py, PyAny>> {
    #[expect(unsafe_code, reason = "plain numbers are read as their bytes")]
    // SAFETY: the callers pass plain numbers without padding, alive for the length of the call.
    let bytes = unsafe { std::slice::from_raw_parts(items.as_ptr().cast(), size_of_val(items)) };
    let flat = PyMemoryView::from(&PyBytes::new(py, bytes))?;
    flat.call_method1("cast", (letter,))
}
