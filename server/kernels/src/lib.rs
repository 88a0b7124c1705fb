//! What the shard computes on the CPU, free of Python.

pub mod sampler;
pub mod simd;
pub mod threads;
