//! `text_generation_server._native`: the native crates as Python sees them.
//!
//! Thin on purpose: converts, checks what crosses the border, releases the interpreter around real
//! work, maps errors. What the classes do is in their crates; how they are used is in `_native.pyi`.

use pyo3::prelude::*;

mod buffer;
mod decoder;
mod outline;
mod page_cache;
mod page_pool;
mod quantize;
mod safetensors_index;
mod sampler;
mod unsigned;

/// The smaller of the kernel's estimate of available memory and what is left of this process's
/// control group limits.
#[pyfunction]
fn available_memory_bytes() -> u64 {
    kv::available_memory_bytes()
}

/// Cores this process may use: the smaller of its affinity and of its control groups' share of CPU
/// time in whole cores, at least 1.
#[pyfunction]
fn available_cpus() -> PyResult<usize> {
    Ok(std::thread::available_parallelism()?.get())
}

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_function(wrap_pyfunction!(available_cpus, module)?)?;
    module.add_function(wrap_pyfunction!(available_memory_bytes, module)?)?;
    module.add_function(wrap_pyfunction!(
        safetensors_index::safetensors_index,
        module
    )?)?;
    module.add_function(wrap_pyfunction!(quantize::quantize, module)?)?;
    module.add_class::<decoder::Decoder>()?;
    module.add_class::<outline::DecoderOutline>()?;
    module.add_class::<page_pool::PagePool>()?;
    module.add_class::<page_cache::PageCounts>()?;
    module.add_class::<page_cache::PageCache>()?;
    module.add_class::<sampler::SamplingParams>()?;
    module.add_class::<sampler::Samples>()?;
    module.add_class::<sampler::Sampler>()
}
