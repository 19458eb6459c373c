//! Principal components as a training: an epoch is one pass of subspace iteration over the samples.
//!
//! ```text
//! network      z = W' (x - m), y = W z + m          W (values x latent): orthonormal columns
//! pass         S = sum of (x - m) z',  s = sum of (x - m)                        over n samples
//! its end      m += s / n;  S -= s (W' s)' / n;  W' S = U L U', L falling;  W = S U, made orthonormal
//! ```
//!
//! With a decoder whose weights are 0 the output is m, and S and s are -1/2 times the gradients of the squared loss by these
//! weights and their bias: a pass is a sum of the gradients that every training has, over the same shards, ranks and devices,
//! and its checkpoints. Values that do not count are 0, for the components as for the encoder. L are the Ritz values. (Subspace iteration from a random start: Halko, Martinsson & Tropp 2011, SIAM
//! Review 53(2), algorithm 4.4, with a pass for each of its products and a mean that is found on the way.)

use std::ops::Range;

use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::matmul::matmul;
use faer::linalg::svd::{self, ComputeSvdVectors};
use faer::{Accum, Mat, MatRef, Par};
use rayon::prelude::*;

use crate::backend::Backend;
use crate::backend::random::{Purpose, Stream};
use crate::model::Graph;
use crate::model::graph::{Affine, Op, Program};

/// Values whose rows are worked on together.
const CHUNK: usize = 4096;
/// A column of which less than this part, squared, is not a sum of the columns before it is lost in rounding.
const DEPENDENT: f64 = 1e-10;
/// Rounds of making columns orthonormal: the last finds them so but for rounding (Yamamoto et al. 2015, ETNA 44).
const ROUNDS: usize = 3;

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

    /// Weight and bias of the decoder: what [`Principal::end_pass`] wants of the gradient.
    pub(super) fn decoder(&self) -> &[Range<usize>; 2] {
        &self.decoder
    }

    /// Start values from drawn ones: columns made orthonormal, m = 0.
    pub(super) fn start(&self, params: &mut [f32]) {
        let drawn: Vec<f64> = params[self.encoder[0].clone()].iter().map(|&w| f64::from(w)).collect();
        params[self.decoder[1].clone()].fill(0.0);
        let k = self.encoder[1].len();
        self.put_orthonormal(params, drawn, Mat::identity(k, k));
    }

    /// Makes the decoder answer m whatever it is given, in place.
    pub(super) fn begin_pass<B: Backend<Real = f32>>(&self, backend: &B, params: &mut B::Buffer) {
        let [weight, _] = &self.decoder;
        backend.approach(params, weight.start, &backend.zeros(weight.len()), 1.0);
    }

    /// The parameters after a pass, and what the components before it, seen from the new mean, leave of the sum of squares: a
    /// difference of sums in f32, to about 1e-6 of these.
    ///
    /// * `gradient` – sums over all batches, by weight and bias of the decoder
    /// * `loss`     – sum of their losses
    pub(super) fn end_pass(&self, params: &mut [f32], gradient: [Vec<f64>; 2], (loss, samples): (f64, f64)) -> f64 {
        let (k, values) = (self.encoder[1].len(), self.decoder[1].len());
        let shift: Vec<f64> = gradient[1].iter().map(|g| -0.5 * g / samples).collect();
        let old = &params[self.encoder[0].clone()];
        // 1. S about the new mean: a row for each value.
        let mut seen = vec![0.0; k];
        for (w, s) in old.chunks_exact(k).zip(&shift) {
            seen.iter_mut().zip(w).for_each(|(seen, &w)| *seen += f64::from(w) * s);
        }
        let mut sums = vec![0.0; k * values];
        sums.par_chunks_exact_mut(k).zip(&shift).enumerate().for_each(|(value, (row, shift))| {
            let of = |j: usize| -0.5 * gradient[0][j * values + value] - samples * seen[j] * shift;
            row.iter_mut().enumerate().for_each(|(j, sum)| *sum = of(j));
        });
        drop(gradient);
        // 2. Ritz values and vectors of the old components.
        let ritz = products(k, old, &sums);
        let trace: f64 = (0..k).map(|i| ritz[(i, i)]).sum();
        // 3. The new ones.
        params[self.decoder[1].clone()].iter_mut().zip(&shift).for_each(|(m, s)| *m = (f64::from(*m) + s) as f32);
        self.put_orthonormal(params, sums, eigenvectors(&ritz));
        let square: f64 = shift.iter().map(|s| s * s).sum();
        loss - samples * square - trace
    }

    /// The parameters with W = `sums` x `turn`, orthonormal, for the m that the decoder has.
    fn put_orthonormal(&self, params: &mut [f32], mut sums: Vec<f64>, mut turn: Mat<f64>) {
        let (k, values) = (self.encoder[1].len(), self.decoder[1].len());
        for round in 0..ROUNDS {
            let gram = products(k, &sums, &sums);
            let (map, lost) = orthonormal(&product(product(turn.transpose(), gram.as_ref()).as_ref(), turn.as_ref()));
            let map = product(map.as_ref(), turn.transpose());
            sums.par_chunks_mut(CHUNK * k).enumerate().for_each(|(chunk, rows)| {
                let mut old = vec![0.0; k];
                for (i, row) in rows.chunks_exact_mut(k).enumerate() {
                    old.copy_from_slice(row);
                    for (j, w) in row.iter_mut().enumerate() {
                        *w = if lost[j] && round + 1 < ROUNDS {
                            noise(chunk * CHUNK + i, round * k + j)
                        } else {
                            old.iter().enumerate().map(|(i, w)| map[(j, i)] * w).sum()
                        };
                    }
                }
            });
            turn = Mat::identity(k, k);
        }
        let mut shift = vec![0.0; k];
        for value in 0..values {
            let m = f64::from(params[self.decoder[1].start + value]);
            for (j, &w) in sums[value * k..][..k].iter().enumerate() {
                let w = w as f32;
                params[self.encoder[0].start + value * k + j] = w;
                params[self.decoder[0].start + j * values + value] = w;
                shift[j] -= f64::from(w) * m;
            }
        }
        params[self.encoder[1].clone()].iter_mut().zip(shift).for_each(|(bias, b)| *bias = b as f32);
    }
}

/// What stands for a component that the samples do not have: the same at every value, column and run.
fn noise(value: usize, column: usize) -> f64 {
    let stream = Stream::new(0, Purpose::Init, column as u64, 0);
    2.0 * stream.uniforms(u32::try_from(value).unwrap_or(u32::MAX))[0] - 1.0
}

/// Sum over the values of a(value) b(value)'.
fn products<T: Copy + Into<f64> + Sync>(k: usize, a: &[T], b: &[f64]) -> Mat<f64> {
    let part = |(a, b): (&[T], &[f64])| {
        let mut sum = vec![0.0; k * k];
        for (a, b) in a.chunks_exact(k).zip(b.chunks_exact(k)) {
            for (&x, row) in a.iter().zip(sum.chunks_exact_mut(k)) {
                let x: f64 = x.into();
                row.iter_mut().zip(b).for_each(|(sum, y)| *sum += x * y);
            }
        }
        sum
    };
    let parts: Vec<Vec<f64>> = a.par_chunks(CHUNK * k).zip(b.par_chunks(CHUNK * k)).map(part).collect();
    // In one order, whatever the number of threads.
    Mat::from_fn(k, k, |i, j| parts.iter().map(|part| part[i * k + j]).sum())
}

fn product(a: MatRef<f64>, b: MatRef<f64>) -> Mat<f64> {
    let mut out = Mat::zeros(a.nrows(), b.ncols());
    matmul(out.as_mut(), Accum::Replace, a, b, 1.0, Par::Seq);
    out
}

/// Of a symmetric matrix without negative eigenvalues, as columns, the largest first: its singular vectors.
fn eigenvectors(matrix: &Mat<f64>) -> Mat<f64> {
    let k = matrix.nrows();
    let (mut sigma, mut vectors) = (Diag::<f64>::zeros(k), Mat::<f64>::zeros(k, k));
    let (thin, no) = (ComputeSvdVectors::Thin, ComputeSvdVectors::No);
    let mut memory = MemBuffer::new(svd::svd_scratch::<f64>(k, k, thin, no, Par::Seq, Default::default()));
    let stack = MemStack::new(&mut memory);
    let found =
        svd::svd(matrix.as_ref(), sigma.as_mut(), Some(vectors.as_mut()), None, Par::Seq, stack, Default::default());
    // Without them the components are right, but not in order.
    if found.is_ok() { vectors } else { Mat::identity(k, k) }
}

/// Of columns with these products: T (a row for each of the new ones) that makes them orthonormal one after the other, and
/// which of them are lost in those before. (Cholesky factor of the columns at norm 1.)
fn orthonormal(gram: &Mat<f64>) -> (Mat<f64>, Vec<bool>) {
    let k = gram.nrows();
    let scale: Vec<f64> = (0..k).map(|i| if gram[(i, i)] > 0.0 { 1.0 / gram[(i, i)].sqrt() } else { 0.0 }).collect();
    let (mut factor, mut map) = (Mat::<f64>::zeros(k, k), Mat::<f64>::zeros(k, k));
    let mut lost = vec![false; k];
    for i in 0..k {
        for j in 0..i {
            let known: f64 = (0..j).map(|l| factor[(i, l)] * factor[(j, l)]).sum();
            let rest = gram[(i, j)] * scale[i] * scale[j] - known;
            factor[(i, j)] = if lost[j] { 0.0 } else { rest / factor[(j, j)] };
        }
        let left = gram[(i, i)] * scale[i] * scale[i] - (0..i).map(|l| factor[(i, l)].powi(2)).sum::<f64>();
        lost[i] = left.is_nan() || left <= DEPENDENT;
        if !lost[i] {
            factor[(i, i)] = left.sqrt();
            for c in 0..=i {
                let before: f64 = (0..i).map(|j| factor[(i, j)] * map[(j, c)]).sum();
                map[(i, c)] = (if c == i { scale[i] } else { 0.0 } - before) / factor[(i, i)];
            }
        }
    }
    (map, lost)
}
