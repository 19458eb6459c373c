//! The ensemble of deviations V, rows over ranks, and its singular values.

use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::svd::{self, ComputeSvdVectors};
use faer::{Mat, Par};
use rayon::prelude::*;

use super::super::cost::{add_scaled, dot};
use super::super::error::AssimilateError;
use super::super::layout::Layout;
use super::super::reduce::{Reduction, over_chunks, share};
use super::factor;
use crate::world::World;

/// V (n x S): column s is training state s minus the background. This rank holds the rows of its chunks.
#[derive(Clone, Debug)]
pub struct Ensemble {
    layout: Layout,
    columns: usize,
    /// One row-major matrix (rows of the chunk x columns) per owned chunk.
    chunks: Vec<Vec<f64>>,
}

/// Singular values of V, descending, and right singular vectors (S x k, column-major); on every rank.
#[derive(Clone, Debug)]
pub struct RightFactors {
    /// σ_1 ≥ σ_2 ≥ … (k = min(n, S) values)
    pub sigma: Vec<f64>,
    /// Column i is the right singular vector of σ_i.
    pub vectors: Vec<f64>,
}

impl RightFactors {
    /// Right singular vector i, S long.
    pub fn vector(&self, i: usize) -> &[f64] {
        let members = self.vectors.len() / self.sigma.len();
        &self.vectors[i * members..(i + 1) * members]
    }
}

impl Ensemble {
    /// An ensemble of `columns` zero deviations.
    pub fn zeros(layout: Layout, columns: usize) -> Self {
        let chunks = layout.owned().map(|chunk| vec![0.0; layout.chunk_rows(chunk).len() * columns]).collect();
        Self { layout, columns, chunks }
    }

    /// The rows and who owns them.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Ensemble members S.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Sets deviation `column` from its values in this rank's rows.
    pub fn set_column(&mut self, column: usize, owned_values: &[f64]) {
        assert!(column < self.columns, "column {column} of {}", self.columns);
        let pieces = self.layout.split(owned_values);
        for (chunk, piece) in self.chunks.iter_mut().zip(pieces) {
            chunk.iter_mut().skip(column).step_by(self.columns).zip(piece).for_each(|(v, x)| *v = *x);
        }
    }

    /// Subtracts a field given in this rank's rows from every column.
    pub fn subtract(&mut self, owned_values: &[f64]) {
        let pieces = self.layout.split(owned_values);
        for (chunk, piece) in self.chunks.iter_mut().zip(pieces) {
            chunk.chunks_mut(self.columns).zip(piece).for_each(|(row, x)| row.iter_mut().for_each(|v| *v -= x));
        }
    }

    /// Multiplies every deviation by `factor`; 1/√(S - 1) makes V Vᵀ the sample covariance.
    pub fn scale(&mut self, factor: f64) {
        self.chunks.par_iter_mut().flatten().for_each(|v| *v *= factor);
    }

    /// Row `row` of V; this rank must own it.
    pub fn row(&self, row: usize) -> &[f64] {
        let chunk = self.layout.chunk_of(row);
        let at = (row - self.layout.chunk_rows(chunk).start) * self.columns;
        &self.chunks[chunk - self.layout.owned().start][at..at + self.columns]
    }

    /// V u in this rank's rows.
    pub fn apply(&self, u: &[f64]) -> Vec<f64> {
        assert_eq!(u.len(), self.columns, "one weight per member");
        let row = |v: &[f64]| dot(v, u);
        self.chunks.par_iter().flat_map(|chunk| chunk.chunks(self.columns).map(row).collect::<Vec<_>>()).collect()
    }

    /// Vᵀ x of a field given in this rank's rows; on every rank.
    pub fn apply_transposed(&self, world: &World, owned_values: &[f64]) -> Vec<f64> {
        let pieces = self.layout.split(owned_values);
        let product = |(chunk, piece): (&Vec<f64>, &&[f64])| {
            let mut sum = vec![0.0; self.columns];
            chunk.chunks(self.columns).zip(*piece).for_each(|(row, x)| add_scaled(&mut sum, *x, row));
            sum
        };
        let sums: Vec<Vec<f64>> = self.chunks.par_iter().zip(&pieces).map(product).collect();
        world.tree_sum(self.layout.chunks(), &self.layout.owned(), &sums, self.columns)
    }

    /// Squared norms of the rows of V, this rank's.
    pub fn row_norms2(&self) -> Vec<f64> {
        let norm2 = |row: &[f64]| dot(row, row);
        self.chunks.iter().flat_map(|chunk| chunk.chunks(self.columns).map(norm2)).collect()
    }

    /// V T for T (S x k, column-major): k columns with the same rows.
    pub fn times(&self, t: &[f64], k: usize) -> Self {
        assert_eq!(t.len(), self.columns * k, "T is S x k");
        let product = |chunk: &Vec<f64>| {
            let row =
                |v: &[f64]| (0..k).map(|j| dot(v, &t[j * self.columns..(j + 1) * self.columns])).collect::<Vec<_>>();
            chunk.chunks(self.columns).flat_map(row).collect()
        };
        let chunks = self.chunks.par_iter().map(product).collect();
        Self { layout: self.layout.clone(), columns: k, chunks }
    }

    /// Singular values and right singular vectors: a triangular factor per chunk, combined along the fixed tree (TSQR,
    /// Demmel et al. 2012), then a dense SVD of the small factor on rank 0. Singular values down to rounding of the
    /// largest survive, unlike those of the Gram matrix VᵀV.
    ///
    /// Errors: `NoSingularValues` if V is not finite.
    pub fn right_factors(&self, world: &World) -> Result<RightFactors, AssimilateError> {
        let leaf = |chunk: usize| factor::triangular_factor(self.chunk_matrix(chunk));
        let reduction = Reduction { columns: self.columns, leaf: &leaf, combine: &factor::combine };
        let r = over_chunks(world, &self.layout, &reduction);
        let root = if world.is_root() { right_svd(&r) } else { None };
        let packed = share(world, root.unwrap_or_else(|| Mat::zeros(0, self.columns + 1)));
        unpack(&packed).ok_or(AssimilateError::NoSingularValues)
    }

    fn chunk_matrix(&self, chunk: usize) -> Mat<f64> {
        let values = &self.chunks[chunk - self.layout.owned().start];
        Mat::from_fn(self.layout.chunk_rows(chunk).len(), self.columns, |i, j| values[i * self.columns + j])
    }
}

/// σ in the first column, right singular vectors in the rows after it: one k x (S + 1) matrix to send.
fn right_svd(r: &Mat<f64>) -> Option<Mat<f64>> {
    let (m, n) = (r.nrows(), r.ncols());
    let finite = (0..n).all(|j| (0..m).all(|i| r[(i, j)].is_finite()));
    if !finite {
        return None;
    }
    let k = m.min(n);
    let mut sigma = Diag::<f64>::zeros(k);
    let mut vectors = Mat::<f64>::zeros(n, k);
    let (no, thin) = (ComputeSvdVectors::No, ComputeSvdVectors::Thin);
    let mut memory = MemBuffer::new(svd::svd_scratch::<f64>(m, n, no, thin, Par::Seq, Default::default()));
    let stack = MemStack::new(&mut memory);
    svd::svd(r.as_ref(), sigma.as_mut(), None, Some(vectors.as_mut()), Par::Seq, stack, Default::default()).ok()?;
    Some(Mat::from_fn(k, n + 1, |i, j| if j == 0 { sigma.column_vector()[i] } else { vectors[(j - 1, i)] }))
}

fn unpack(packed: &Mat<f64>) -> Option<RightFactors> {
    let (k, members) = (packed.nrows(), packed.ncols() - 1);
    let vectors = (0..k).flat_map(|i| (0..members).map(move |j| packed[(i, j + 1)])).collect();
    (k > 0).then(|| RightFactors { sigma: (0..k).map(|i| packed[(i, 0)]).collect(), vectors })
}
