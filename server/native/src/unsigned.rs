//! Integers across the border.

use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;

/// An unsigned integer whose range is part of the contract: beyond it is a ValueError, where PyO3
/// alone would raise OverflowError.
pub(crate) struct Unsigned<T>(pub(crate) T);

impl<'py, T> FromPyObject<'_, 'py> for Unsigned<T>
where
    T: for<'a> FromPyObject<'a, 'py, Error = PyErr>,
{
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        object.extract().map(Self).map_err(|error: PyErr| {
            if error.is_instance_of::<PyOverflowError>(object.py()) {
                out_of_range::<T>("value", &*object)
            } else {
                error
            }
        })
    }
}

/// The value as the unsigned type that it must fit.
pub(crate) fn in_range<T: TryFrom<i128>>(name: &str, value: i128) -> PyResult<T> {
    T::try_from(value).map_err(|_| out_of_range::<T>(name, value))
}

fn out_of_range<T>(name: &str, value: impl std::fmt::Display) -> PyErr {
    let bits = 8 * size_of::<T>();
    PyValueError::new_err(format!("{name} is {value}, expected 0 to 2^{bits} - 1"))
}
