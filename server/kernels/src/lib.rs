//! What the shard computes on the CPU, free of Python.

pub mod attention;
pub mod decoder;
pub mod hadamard;
pub mod matmul;
pub mod norm;
pub mod rope;
pub mod sampler;
pub mod simd;
pub mod threads;
