//! Where MPI finds what it moves.

use std::ops::Range;

use crate::world::tree;

/// Vectors of f32 in memory that MPI reads and writes: that of the host, or of a device that it reaches.
pub trait Memory: Clone {
    /// Values.
    type Vector: 'static;
    /// The work on vectors that was called before it was made.
    type Mark;

    /// A vector that MPI will write.
    fn blank(&self, len: usize) -> Self::Vector;
    /// A range of a vector.
    fn part(&self, vector: &Self::Vector, range: Range<usize>) -> Self::Vector;
    /// Vectors one behind the other.
    fn joined(&self, parts: &[&Self::Vector]) -> Self::Vector;
    /// sum += other
    fn add(&self, sum: &mut Self::Vector, other: &Self::Vector);
    /// Where the values lie.
    fn address(&self, vector: &Self::Vector) -> *const f32;
    /// Where they are to be written, of a vector that is nobody else's.
    fn address_mut(&self, vector: &mut Self::Vector) -> *mut f32;
    /// Marks what was called until now.
    fn mark(&self, vector: &Self::Vector) -> Self::Mark;
    /// Waits until it is done.
    fn reach(&self, mark: Self::Mark);
}

/// Memory of the host.
#[derive(Clone, Copy, Debug)]
pub struct Host;

impl Memory for Host {
    type Vector = Vec<f32>;
    type Mark = ();

    fn blank(&self, len: usize) -> Vec<f32> {
        vec![0.0; len]
    }
    fn part(&self, vector: &Vec<f32>, range: Range<usize>) -> Vec<f32> {
        vector[range].to_vec()
    }
    fn joined(&self, parts: &[&Vec<f32>]) -> Vec<f32> {
        parts.iter().map(|part| &part[..]).collect::<Vec<_>>().concat()
    }
    fn add(&self, sum: &mut Vec<f32>, other: &Vec<f32>) {
        tree::add_into(sum, other);
    }
    fn address(&self, vector: &Vec<f32>) -> *const f32 {
        vector.as_ptr()
    }
    fn address_mut(&self, vector: &mut Vec<f32>) -> *mut f32 {
        vector.as_mut_ptr()
    }
    fn mark(&self, _vector: &Vec<f32>) {}
    fn reach(&self, (): ()) {}
}
