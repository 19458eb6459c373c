//! Dense matrix products, all transpose forms.

mod cpu;
mod gpu;

use super::Buffers;

/// c `(m, n)` = op(a) op(b), row-major; op(a) is `(m, k)`, op(b) is `(k, n)`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatmulDims {
    /// Rows of c.
    pub m: usize,
    /// Columns of c.
    pub n: usize,
    /// Contracted extent.
    pub k: usize,
    /// a is stored `(k, m)`.
    pub transpose_a: bool,
    /// b is stored `(n, k)`.
    pub transpose_b: bool,
}

/// Dense matrix products.
pub trait Matmul: Buffers {
    /// c = op(a) op(b)
    fn matmul(&self, a: &Self::Buffer, b: &Self::Buffer, dims: &MatmulDims) -> Self::Buffer;
}
