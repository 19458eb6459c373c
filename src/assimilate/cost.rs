//! The cost of a control vector, its gradient, and the rows G = H V T it is made of.
//!
//! J(w) = J_b + J_o,  J_b = ½ α w·w,  J_o = ½ (d - G w)ᵀ R⁻¹ (d - G w)     (seed 004 eq. 17 and 43; α of its code)
//! ∇J(w) = α w - Gᵀ R⁻¹ (d - G w),    ∇²J = α I + Gᵀ R⁻¹ G
//!
//! The rows of G are cut into the virtual chunks of the state; sums over them go along the fixed tree.

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt::factor::{LltError, cholesky_in_place, cholesky_in_place_scratch};
use faer::linalg::cholesky::llt::solve::solve_in_place;
use faer::linalg::matmul::matmul;
use faer::linalg::triangular_inverse::invert_lower_triangular;
use faer::linalg::triangular_solve::solve_upper_triangular_in_place;
use faer::{Accum, Mat, Par};
use rayon::prelude::*;

use super::error::AssimilateError;
use super::layout::Layout;
use super::reduce::{Reduction, over_chunks};
use crate::world::World;

/// Partial sums of [`dot`]: wide enough for any vector unit, fixed so that the bits do not depend on it.
const LANES: usize = 8;

/// a · b, added in eight interleaved partial sums and a fixed tree.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len(), "vectors of one length");
    let mut sums = [0.0; LANES];
    let (a_blocks, b_blocks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let tail: f64 = a_blocks.remainder().iter().zip(b_blocks.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a_blocks.zip(b_blocks) {
        for lane in 0..LANES {
            sums[lane] += x[lane] * y[lane];
        }
    }
    let [s0, s1, s2, s3, s4, s5, s6, s7] = sums;
    (((s0 + s4) + (s1 + s5)) + ((s2 + s6) + (s3 + s7))) + tail
}

/// y += a x
pub fn add_scaled(y: &mut [f64], a: f64, x: &[f64]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += a * x);
}

/// G and R⁻¹ of this rank's observations, chunk by chunk. Made once for all states observed at the same places.
#[derive(Clone, Debug)]
pub struct Design {
    layout: Layout,
    columns: usize,
    observations: usize,
    /// One row-major matrix (observations of the chunk x columns) per owned chunk.
    rows: Vec<Vec<f64>>,
    /// 1/σ² of each observation, per owned chunk.
    precisions: Vec<Vec<f64>>,
}

impl Design {
    /// Joins rows of G and error variances, one row-major matrix and one vector per owned chunk of `layout`.
    /// `observations` counts those of all ranks.
    pub fn new(
        layout: Layout,
        columns: usize,
        observations: usize,
        (rows, variances): (Vec<Vec<f64>>, Vec<Vec<f64>>),
    ) -> Self {
        assert_eq!(rows.len(), layout.owned().len(), "one matrix per owned chunk");
        for (rows, variances) in rows.iter().zip(&variances) {
            assert_eq!(rows.len(), variances.len() * columns, "one variance per row");
        }
        let precisions = variances.into_iter().map(|chunk| chunk.into_iter().map(f64::recip).collect()).collect();
        Self { layout, columns, observations, rows, precisions }
    }

    /// The design of a space that every rank holds whole (latents): `columns` vectors, whose values have these error variances.
    pub fn whole(columns: &[Vec<f64>], variances: &[f64]) -> Self {
        let m = variances.len();
        let rows = (0..m).flat_map(|i| columns.iter().map(move |c| c[i])).collect();
        Self::new(Layout::whole(m), columns.len(), m, (vec![rows], vec![variances.to_vec()]))
    }

    /// Length of the control vector.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Observations of all ranks.
    pub fn observations(&self) -> usize {
        self.observations
    }

    /// Every owned chunk and its number of observations.
    pub(super) fn chunk_sizes(&self) -> impl Iterator<Item = (usize, usize)> {
        self.layout.owned().zip(self.precisions.iter().map(Vec::len))
    }

    /// G w at this rank's observations, in chunk order.
    pub fn apply(&self, w: &[f64]) -> Vec<f64> {
        let product = |rows: &Vec<f64>| rows.chunks(self.columns).map(|row| dot(row, w)).collect::<Vec<_>>();
        self.rows.par_iter().flat_map(product).collect()
    }

    /// Gᵀ q of values at this rank's observations; on every rank.
    pub fn apply_transposed(&self, world: &World, q: &[f64]) -> Vec<f64> {
        let pieces = self.split(q);
        let product = |(rows, piece): (&Vec<f64>, &&[f64])| {
            let mut sum = vec![0.0; self.columns];
            rows.chunks(self.columns).zip(*piece).for_each(|(row, q)| add_scaled(&mut sum, *q, row));
            sum
        };
        let sums: Vec<Vec<f64>> = self.rows.par_iter().zip(&pieces).map(product).collect();
        world.tree_sum(self.layout.chunks(), &self.layout.owned(), &sums, self.columns)
    }

    /// Sum over all observations of `term(values, 1/σ²)`, in the fixed order; on every rank. `values` are one slice per
    /// quantity, each in chunk order.
    pub fn sum<const N: usize>(&self, world: &World, values: [&[f64]; N], term: impl Fn([f64; N], f64) -> f64) -> f64 {
        let pieces = values.map(|v| self.split(v));
        let sums: Vec<Vec<f64>> = (0..self.rows.len())
            .map(|chunk| {
                let precisions = self.precisions[chunk].iter().enumerate();
                let terms = precisions.map(|(i, p)| term(std::array::from_fn(|k| pieces[k][chunk][i]), *p));
                vec![terms.sum()]
            })
            .collect();
        world.tree_sum(self.layout.chunks(), &self.layout.owned(), &sums, 1)[0]
    }

    fn split<'a>(&self, values: &'a [f64]) -> Vec<&'a [f64]> {
        let mut rest = values;
        let pieces = self.precisions.iter().map(|chunk| {
            let (piece, after) = rest.split_at(chunk.len());
            rest = after;
            piece
        });
        let pieces = pieces.collect();
        assert!(rest.is_empty(), "one value per observation");
        pieces
    }

    /// Gᵀ R⁻¹ G, on every rank.
    fn normal_matrix(&self, world: &World) -> Mat<f64> {
        let k = self.columns;
        let leaf = |chunk: usize| {
            let at = chunk - self.layout.owned().start;
            let (rows, precisions) = (&self.rows[at], &self.precisions[at]);
            // Columns of Gᵀ R^-½: the product with its own transpose is symmetric to the last bit.
            let scaled = Mat::from_fn(k, precisions.len(), |j, i| rows[i * k + j] * precisions[i].sqrt());
            let mut sum = Mat::zeros(k, k);
            matmul(sum.as_mut(), Accum::Replace, scaled.as_ref(), scaled.transpose(), 1.0, Par::Seq);
            sum
        };
        let add = |a: Mat<f64>, b: Mat<f64>| a + b;
        over_chunks(world, &self.layout, &Reduction { columns: k, leaf: &leaf, combine: &add })
    }
}

/// Cost and gradient at one control vector.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// Background term.
    pub j_b: f64,
    /// Observation term.
    pub j_o: f64,
    /// ∇J
    pub gradient: Vec<f64>,
}

impl Evaluation {
    /// J = J_b + J_o
    pub fn j(&self) -> f64 {
        self.j_b + self.j_o
    }
}

/// The cost of one state: a design, its innovation, and the weight of the background.
pub struct Cost<'a> {
    world: &'a World,
    design: &'a Design,
    innovation: Vec<f64>,
    alpha: f64,
}

impl<'a> Cost<'a> {
    /// The cost for `innovation` d = y - H x_b at this rank's observations, in chunk order. `world` is the one the rows
    /// are spread over, or a serial one for a design that every rank holds whole.
    pub fn new(world: &'a World, design: &'a Design, innovation: Vec<f64>, alpha: f64) -> Self {
        design.split(&innovation);
        Self { world, design, innovation, alpha }
    }

    /// Length of the control vector.
    pub fn dimension(&self) -> usize {
        self.design.columns
    }

    /// The design.
    pub fn design(&self) -> &Design {
        self.design
    }

    /// The world the rows are spread over.
    pub fn world(&self) -> &World {
        self.world
    }

    /// d at this rank's observations.
    pub fn innovation(&self) -> &[f64] {
        &self.innovation
    }

    /// J, J_b, J_o and ∇J at `w`. One collective sum; every rank gets the same bits.
    pub fn evaluate(&self, w: &[f64]) -> Evaluation {
        let k = self.design.columns;
        let pieces = self.design.split(&self.innovation);
        let partial = |chunk: usize| {
            let mut sums = vec![0.0; k + 1];
            let rows = self.design.rows[chunk].chunks(k);
            for ((row, d), p) in rows.zip(pieces[chunk]).zip(&self.design.precisions[chunk]) {
                let q = dot(row, w) - d;
                sums[k] += 0.5 * p * q * q;
                add_scaled(&mut sums[..k], p * q, row);
            }
            sums
        };
        let sums: Vec<Vec<f64>> = (0..self.design.rows.len()).into_par_iter().map(partial).collect();
        let mut gradient = self.world.tree_sum(self.design.layout.chunks(), &self.design.layout.owned(), &sums, k + 1);
        let j_o = gradient.pop().expect("k + 1 values");
        add_scaled(&mut gradient, self.alpha, w);
        Evaluation { j_b: 0.5 * self.alpha * dot(w, w), j_o, gradient }
    }

    /// ∇²J v
    pub fn hessian_times(&self, v: &[f64]) -> Vec<f64> {
        let k = self.design.columns;
        let partial = |chunk: usize| {
            let mut sums = vec![0.0; k];
            for (row, p) in self.design.rows[chunk].chunks(k).zip(&self.design.precisions[chunk]) {
                add_scaled(&mut sums, p * dot(row, v), row);
            }
            sums
        };
        let sums: Vec<Vec<f64>> = (0..self.design.rows.len()).into_par_iter().map(partial).collect();
        let mut product = self.world.tree_sum(self.design.layout.chunks(), &self.design.layout.owned(), &sums, k);
        add_scaled(&mut product, self.alpha, v);
        product
    }
}

/// The Cholesky factor of ∇²J: depends on places and errors only, so it is made once for all states.
pub struct Hessian {
    factor: Mat<f64>,
}

impl Hessian {
    /// Factors α I + Gᵀ R⁻¹ G.
    ///
    /// Errors: `NotPositive` if a pivot is not positive (non-finite rows, or α not above 0).
    pub fn factor(world: &World, design: &Design, alpha: f64) -> Result<Self, AssimilateError> {
        let mut factor = design.normal_matrix(world);
        let k = factor.nrows();
        (0..k).for_each(|i| factor[(i, i)] += alpha);
        let mut memory = MemBuffer::new(cholesky_in_place_scratch::<f64>(k, Par::Seq, Default::default()));
        let stack = MemStack::new(&mut memory);
        let done = cholesky_in_place(factor.as_mut(), Default::default(), Par::Seq, stack, Default::default());
        let refused = (0..k).find(|&i| factor[(i, i)].is_nan() || factor[(i, i)] <= 0.0);
        match (done, refused) {
            (Ok(_), None) => Ok(Self { factor }),
            (Err(LltError::NonPositivePivot { index: pivot }), _) | (_, Some(pivot)) => {
                Err(AssimilateError::NotPositive { pivot })
            }
        }
    }

    /// L⁻ᵀ b with ∇²J = L Lᵀ: of independent standard normal b, a draw of the covariance (∇²J)⁻¹.
    pub fn solve_root(&self, b: &[f64]) -> Vec<f64> {
        let mut x = Mat::from_fn(b.len(), 1, |i, _| b[i]);
        solve_upper_triangular_in_place(self.factor.transpose(), x.as_mut(), Par::Seq);
        (0..b.len()).map(|i| x[(i, 0)]).collect()
    }

    /// L⁻ᵀ, column by column.
    pub fn root(&self) -> Vec<f64> {
        let k = self.dimension();
        let mut inverse = Mat::zeros(k, k);
        invert_lower_triangular(inverse.as_mut(), self.factor.as_ref(), Par::Seq);
        (0..k).flat_map(|j| (0..k).map(|i| if i <= j { inverse[(j, i)] } else { 0.0 }).collect::<Vec<_>>()).collect()
    }

    /// Length of the control vector.
    pub fn dimension(&self) -> usize {
        self.factor.nrows()
    }

    /// (∇²J)⁻¹ b
    pub fn solve(&self, b: &[f64]) -> Vec<f64> {
        let mut x = Mat::from_fn(b.len(), 1, |i, _| b[i]);
        solve_in_place(self.factor.as_ref(), x.as_mut(), Par::Seq, MemStack::new(&mut []));
        (0..b.len()).map(|i| x[(i, 0)]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_of_every_length_is_the_plain_sum() {
        for n in 0..40 {
            let a: Vec<f64> = (0..n).map(|i| f64::from(i) + 0.5).collect();
            let b: Vec<f64> = (0..n).map(|i| 1.0 - f64::from(i)).collect();
            let plain: f64 = a.iter().zip(&b).map(|(x, y)| x * y).sum();
            assert!((dot(&a, &b) - plain).abs() < 1e-9, "n {n}");
        }
    }
}
