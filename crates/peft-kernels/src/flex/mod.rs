//! Kernels for Burn's CPU backend, as its extensions: on all cores, vectorised for what the processor has.

pub(crate) mod activation;
pub(crate) mod attention;
pub(crate) mod buffer;
pub(crate) mod dropout;
pub(crate) mod gemm;
pub(crate) mod graph;
pub(crate) mod linear;
pub(crate) mod loss;
pub(crate) mod math;
pub(crate) mod norm;
pub(crate) mod optim;
pub(crate) mod owned;
pub(crate) mod pool;
pub(crate) mod rows;
pub(crate) mod scale;
pub(crate) mod simd;
pub(crate) mod sum;
pub(crate) mod weight;
