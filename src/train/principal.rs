//! Principal components as a training: an epoch is one pass of subspace iteration over the samples.
//!
//! ```text
//! network      z = W' (x - m), y = W z + m          W (values x latent): orthonormal columns
//! pass         S = sum of (x - m) z',  s = sum of (x - m)                        over n samples
//! its end      m += s / n;  S -= s z̄';  W' S = U L U', L falling;  W = S U made orthonormal, column by column
//! ```
//!
//! With a decoder whose weights are 0 the output is m, and S and s are -1/2 times the gradients of the squared loss by these
//! weights and their bias: a pass is a sum of the gradients that every training has, over the same shards, ranks and devices,
//! and its checkpoints. L are the Ritz values. (Subspace iteration from a random start: Halko, Martinsson & Tropp 2011, SIAM
//! Review 53(2), algorithm 4.4, with a pass for each of its products and a mean that is found on the way.)

use std::ops::Range;

use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::svd::{self, ComputeSvdVectors};
use faer::{Mat, Par};
use rayon::prelude::*;

use crate::backend::Backend;
use crate::model::Graph;
use crate::model::graph::{Affine, Op, Program};

/// A row with less of its norm left than this part is a sum of the rows before it.
const DEPENDENT: f64 = 1e-9;

/// Where weight and bias of the two layers lie.
pub(super) struct Principal {
    encoder: [Range<usize>; 2],
    decoder: [Range<usize>; 2],
}

impl Principal {
    /// Of a graph of one dense layer each way. Panics at any other (program error).
    pub(super) fn of(graph: &Graph) -> Self {
        let layer = |program: &Program| {
            let affine = program.nodes.iter().find_map(|node| match &node.op {
                &Op::Dense(Affine { weight, bias: Some(bias) }) => Some([weight, bias]),
                _ => None,
            });
            affine.expect("model `pca` is one dense layer each way").map(|place| graph.params.range(place))
        };
        Self { encoder: layer(&graph.encoder), decoder: layer(&graph.decoder) }
    }

    /// Latent values.
    fn latent(&self) -> usize {
        self.encoder[1].len()
    }

    /// Start values from drawn ones: their columns made orthonormal, m = 0.
    pub(super) fn start(&self, params: &mut [f32]) {
        let values = self.decoder[1].len();
        let mut rows = self.columns(params);
        orthonormal(&mut rows);
        self.put(params, &rows, &vec![0.0; values]);
    }

    /// Makes the decoder answer m whatever it is given, in place.
    pub(super) fn begin_pass<B: Backend<Real = f32>>(&self, backend: &B, params: &mut B::Buffer) {
        let [weight, _] = &self.decoder;
        backend.approach(params, weight.start, &backend.zeros(weight.len()), 1.0);
    }

    /// The parameters after a pass, and what its components, seen from the new mean, leave of the sum of squares.
    ///
    /// * `gradient` – sum of the gradients of all batches
    /// * `loss`     – and of their losses
    pub(super) fn end_pass(&self, params: &mut [f32], gradient: &[f64], (loss, samples): (f64, f64)) -> f64 {
        let values = self.decoder[1].len();
        let shift: Vec<f64> = gradient[self.decoder[1].clone()].iter().map(|g| -0.5 * g / samples).collect();
        let old = self.columns(params);
        // 1. The sums about the new mean: rows of S', one for each component.
        let mut sums: Vec<Vec<f64>> = gradient[self.decoder[0].clone()]
            .chunks(values)
            .map(|row| row.iter().map(|g| -0.5 * g).collect())
            .collect();
        sums.par_iter_mut().zip(&old).for_each(|(sum, old)| add(sum, &shift, -samples * dot(old, &shift)));
        // 2. Ritz values and vectors of the old components.
        let k = self.latent();
        let products: Vec<f64> = (0..k * k)
            .into_par_iter()
            .map(|i| 0.5 * (dot(&old[i / k], &sums[i % k]) + dot(&old[i % k], &sums[i / k])))
            .collect();
        let trace: f64 = (0..k).map(|i| products[i * k + i]).sum();
        let turn = eigenvectors(k, &products);
        // 3. The new ones.
        let turned = |i: usize| {
            let mut row = vec![0.0; values];
            sums.iter().enumerate().for_each(|(j, sum)| add(&mut row, sum, turn[(j, i)]));
            row
        };
        let mut rows: Vec<Vec<f64>> = (0..k).into_par_iter().map(turned).collect();
        orthonormal(&mut rows);
        let bias = &params[self.decoder[1].clone()];
        let mean: Vec<f64> = bias.iter().zip(&shift).map(|(&m, shift)| f64::from(m) + shift).collect();
        self.put(params, &rows, &mean);
        (loss - samples * dot(&shift, &shift) - trace).max(0.0)
    }

    /// W by columns.
    fn columns(&self, params: &[f32]) -> Vec<Vec<f64>> {
        let weight = &params[self.encoder[0].clone()];
        (0..self.latent()).map(|j| weight[j..].iter().step_by(self.latent()).map(|&w| f64::from(w)).collect()).collect()
    }

    fn put(&self, params: &mut [f32], columns: &[Vec<f64>], mean: &[f64]) {
        let (k, values) = (self.latent(), mean.len());
        for (j, column) in columns.iter().enumerate() {
            for (i, &w) in column.iter().enumerate() {
                params[self.encoder[0].start + i * k + j] = w as f32;
                params[self.decoder[0].start + j * values + i] = w as f32;
            }
            params[self.encoder[1].start + j] = -dot(column, mean) as f32;
        }
        params[self.decoder[1].clone()].iter_mut().zip(mean).for_each(|(bias, &m)| *bias = m as f32);
    }
}

/// Of a symmetric matrix without negative eigenvalues, as columns, the largest first: its singular vectors.
fn eigenvectors(k: usize, matrix: &[f64]) -> Mat<f64> {
    let matrix = Mat::from_fn(k, k, |i, j| matrix[i * k + j]);
    let (mut sigma, mut vectors) = (Diag::<f64>::zeros(k), Mat::<f64>::zeros(k, k));
    let (thin, no) = (ComputeSvdVectors::Thin, ComputeSvdVectors::No);
    let mut memory = MemBuffer::new(svd::svd_scratch::<f64>(k, k, thin, no, Par::Seq, Default::default()));
    let stack = MemStack::new(&mut memory);
    let found =
        svd::svd(matrix.as_ref(), sigma.as_mut(), Some(vectors.as_mut()), None, Par::Seq, stack, Default::default());
    // Without them the components are right, but not in order.
    if found.is_ok() { vectors } else { Mat::identity(k, k) }
}

/// Gram-Schmidt, twice (Giraud et al. 2005: twice is enough); what depends on rows before it becomes 0.
fn orthonormal(rows: &mut [Vec<f64>]) {
    for i in 0..rows.len() {
        let (before, rest) = rows.split_at_mut(i);
        let row = &mut rest[0];
        let norm = dot(row, row).sqrt();
        for _ in 0..2 {
            let parts: Vec<f64> = before.par_iter().map(|earlier| dot(earlier, row)).collect();
            before.iter().zip(parts).for_each(|(earlier, part)| add(row, earlier, -part));
        }
        let left = dot(row, row).sqrt();
        let scale = if left > DEPENDENT * norm { 1.0 / left } else { 0.0 };
        row.iter_mut().for_each(|v| *v *= scale);
    }
}

/// Eight sums side by side: the compiler may not reorder one.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (a, a_rest) = a.as_chunks::<8>();
    let (b, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (x, y))| *sum += x * y);
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum();
    sums.iter().sum::<f64>() + rest
}

fn add(to: &mut [f64], from: &[f64], factor: f64) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += factor * from);
}
