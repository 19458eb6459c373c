//! Extents of a tensor.

use std::fmt;

/// Largest rank: `(n, d, h, w, c)` and one axis to spare.
const RANK_MAX: usize = 6;

/// Extents of a contiguous row-major tensor, outermost first; `[]` is a scalar. Cheap to copy.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    dims: [usize; RANK_MAX],
    rank: usize,
}

impl Shape {
    /// Panics above rank 6 (program error).
    pub fn new(dims: &[usize]) -> Self {
        assert!(dims.len() <= RANK_MAX, "rank {} is above {RANK_MAX}", dims.len());
        let mut all = [1; RANK_MAX];
        all[..dims.len()].copy_from_slice(dims);
        Self { dims: all, rank: dims.len() }
    }
    /// One element, no axes.
    pub fn scalar() -> Self {
        Self::new(&[])
    }
    /// The extents.
    pub fn dims(&self) -> &[usize] {
        &self.dims[..self.rank]
    }
    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.rank
    }
    /// Number of elements.
    pub fn count(&self) -> usize {
        self.dims().iter().product()
    }
    /// Extent of the last axis; 1 for a scalar.
    pub fn channels(&self) -> usize {
        self.dims().last().copied().unwrap_or(1)
    }
    /// The same extents but for one axis.
    pub fn with(&self, axis: usize, extent: usize) -> Self {
        assert!(axis < self.rank, "axis {axis} of {self}");
        let mut other = *self;
        other.dims[axis] = extent;
        other
    }
    /// Products of the extents before and after `axis`.
    pub fn around(&self, axis: usize) -> (usize, usize) {
        assert!(axis < self.rank, "axis {axis} of {self}");
        (self.dims[..axis].iter().product(), self.dims[axis + 1..self.rank].iter().product())
    }
    /// The same elements with leading axes of extent 1 up to `rank`.
    pub(super) fn aligned(&self, rank: usize) -> Self {
        assert!(rank >= self.rank, "{self} does not broadcast to rank {rank}");
        let mut dims = [1; RANK_MAX];
        dims[rank - self.rank..rank].copy_from_slice(self.dims());
        Self { dims, rank }
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(dims: [usize; N]) -> Self {
        Self::new(&dims)
    }
}

impl From<&[usize]> for Shape {
    fn from(dims: &[usize]) -> Self {
        Self::new(dims)
    }
}

impl std::ops::Index<usize> for Shape {
    type Output = usize;
    fn index(&self, axis: usize) -> &usize {
        &self.dims()[axis]
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.dims().iter().map(ToString::to_string).collect();
        write!(f, "({})", texts.join(", "))
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
