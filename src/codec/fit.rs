//! Weights that predict best, found by the encoder: least absolute residuals by reweighted least squares.
//!
//! Minimizes sum_i max(|r_i|, s)-weighted squares of r = y - A w with a pull towards `prior`; three rounds of
//! weights 1 / max(|r_i|, s). Absolute residuals, not squares, follow the length of their code; s is half a
//! quantization step, below which a residual costs nothing more.
//!
//! Only the encoder runs this: what it decides is stored as integers.

use super::lines::wide;

/// Rounds of reweighting.
const ROUNDS: usize = 2;
/// Pull towards the prior, in parts of the mean diagonal of the normal matrix.
const RIDGE: f64 = 1.0e-4;
/// Rows whose products are summed together, and sums side by side.
const ROWS: usize = 128;
const LANES: usize = 8;

/// Rows of a linear model: `columns` numbers each, and the target.
#[derive(Debug, Default)]
pub(super) struct Samples {
    columns: usize,
    rows: usize,
    /// [`ROWS`] rows at a time, by column, the targets last; zeros behind the last row.
    blocks: Vec<[f64; ROWS]>,
}

impl Samples {
    /// No rows yet of `columns` numbers; room for about `rows`.
    pub fn new(columns: usize, rows: usize) -> Self {
        Self { columns, rows: 0, blocks: Vec::with_capacity((rows / ROWS + 1) * (columns + 1)) }
    }

    /// Adds a row; rows with a number that is not finite are left out.
    #[inline]
    pub fn push(&mut self, row: impl Iterator<Item = f64>, target: f64) {
        let (r, first) = (self.rows % ROWS, self.rows / ROWS * (self.columns + 1));
        if first == self.blocks.len() {
            self.blocks.resize(first + self.columns + 1, [0.0; ROWS]);
        }
        let block = &mut self.blocks[first..];
        let mut finite = true;
        for (column, number) in block.iter_mut().zip(row.take(self.columns).chain([target])) {
            column[r] = number;
            finite &= number.is_finite();
        }
        if finite {
            self.rows += 1;
        } else {
            block.iter_mut().for_each(|column| column[r] = 0.0);
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// The weights of least squares; `prior` where the data do not tell.
    pub fn solve_squares(&self, prior: &[f64]) -> Vec<f64> {
        if self.len() < 2 * self.columns {
            return prior.to_vec();
        }
        let (matrix, right) = self.normal_equations(prior, None);
        solve_ridge(matrix, right, prior).unwrap_or_else(|| prior.to_vec())
    }

    /// The weights of least absolute residuals; `prior` where the data do not tell.
    pub fn solve(&self, prior: &[f64], scale: f64) -> Vec<f64> {
        let mut weights = prior.to_vec();
        if self.columns == 0 || self.len() < 2 * self.columns {
            return weights;
        }
        for round in 0..=ROUNDS {
            let (matrix, right) = self.normal_equations(&weights, (round > 0).then_some(scale));
            match solve_ridge(matrix, right, prior) {
                Some(solved) => weights = solved,
                None => return prior.to_vec(),
            }
        }
        weights
    }

    fn normal_equations(&self, weights: &[f64], scale: Option<f64>) -> (Vec<f64>, Vec<f64>) {
        let n = self.columns;
        let mut matrix = vec![0.0; n * n];
        let mut right = vec![0.0; n];
        for columns in self.blocks.chunks_exact(n + 1) {
            add_products(columns, weights, scale, &mut matrix, &mut right);
        }
        (matrix, right)
    }
}

wide! {
    fn add_products(columns: &[[f64; ROWS]], weights: &[f64], scale: Option<f64>, matrix: &mut [f64], right: &mut [f64])
        = add_products_lanes
}

/// Adds the products of some rows, weighted by s / max(|residual|, s) if there is a scale s, to the normal equations.
#[inline(always)]
fn add_products_lanes(
    columns: &[[f64; ROWS]],
    weights: &[f64],
    scale: Option<f64>,
    matrix: &mut [f64],
    right: &mut [f64],
) {
    let (targets, columns) = columns.split_last().expect("the targets are the last column");
    let mut importance = [1.0; ROWS];
    if let Some(s) = scale {
        let mut residuals = *targets;
        for (column, w) in columns.iter().zip(weights) {
            residuals.iter_mut().zip(column).for_each(|(residual, x)| *residual -= x * w);
        }
        importance = residuals.map(|residual| s / residual.abs().max(s));
    }
    for (i, column) in columns.iter().enumerate() {
        let weighted: [f64; ROWS] = std::array::from_fn(|r| importance[r] * column[r]);
        right[i] += product(&weighted, targets);
        for (m, other) in matrix[i * columns.len()..][..=i].iter_mut().zip(columns) {
            *m += product(&weighted, other);
        }
    }
}

/// a . b, in the same order on every machine.
#[inline(always)]
fn product(a: &[f64; ROWS], b: &[f64; ROWS]) -> f64 {
    let mut lanes = [0.0; LANES];
    for (a, b) in a.as_chunks::<LANES>().0.iter().zip(b.as_chunks::<LANES>().0) {
        for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += a * b;
        }
    }
    lanes.iter().sum()
}

/// Solves (M + k I) w = b + k prior with k = RIDGE x mean diagonal; M is given by its lower triangle.
fn solve_ridge(mut matrix: Vec<f64>, mut right: Vec<f64>, prior: &[f64]) -> Option<Vec<f64>> {
    let n = prior.len();
    let ridge = RIDGE * (0..n).map(|i| matrix[i * n + i]).sum::<f64>() / n as f64 + f64::MIN_POSITIVE;
    for i in 0..n {
        matrix[i * n + i] += ridge;
        right[i] += ridge * prior[i];
    }
    for i in 0..n {
        for j in 0..=i {
            let dot: f64 = (0..j).map(|k| matrix[i * n + k] * matrix[j * n + k]).sum();
            let rest = matrix[i * n + j] - dot;
            if i == j {
                if !(rest > 0.0 && rest.is_finite()) {
                    return None;
                }
                matrix[i * n + i] = rest.sqrt();
            } else {
                matrix[i * n + j] = rest / matrix[j * n + j];
            }
        }
    }
    for i in 0..n {
        let dot: f64 = (0..i).map(|k| matrix[i * n + k] * right[k]).sum();
        right[i] = (right[i] - dot) / matrix[i * n + i];
    }
    for i in (0..n).rev() {
        let dot: f64 = (i + 1..n).map(|k| matrix[k * n + i] * right[k]).sum();
        right[i] = (right[i] - dot) / matrix[i * n + i];
    }
    right.iter().all(|w| w.is_finite()).then_some(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_equations_are_the_sums_over_all_rows() {
        let number = |i: usize| ((i as f64 * 0.731).sin() * 977.0).fract();
        for (n, rows) in [(1, 5), (3, ROWS), (7, 3 * ROWS + 19)] {
            let mut samples = Samples::new(n, rows);
            (0..rows).for_each(|r| samples.push((0..n).map(|i| number(r * (n + 1) + i)), number(r * (n + 1) + n)));
            let weights: Vec<f64> = (0..n).map(|i| number(1000 + i)).collect();
            for scale in [None, Some(0.1)] {
                let (matrix, right) = samples.normal_equations(&weights, scale);
                let at = |r: usize, i: usize| samples.blocks[r / ROWS * (n + 1) + i][r % ROWS];
                let importance = |r: usize| {
                    let residual = at(r, n) - (0..n).map(|i| at(r, i) * weights[i]).sum::<f64>();
                    scale.map_or(1.0, |s: f64| s / residual.abs().max(s))
                };
                let close = |found: f64, x: &dyn Fn(usize) -> f64| {
                    let sum: f64 = (0..rows).map(|r| importance(r) * x(r)).sum();
                    assert!((found - sum).abs() < 1e-10 * rows as f64, "{found} {sum}");
                };
                for i in 0..n {
                    close(right[i], &|r| at(r, i) * at(r, n));
                    (0..=i).for_each(|j| close(matrix[i * n + j], &|r| at(r, i) * at(r, j)));
                }
            }
        }
    }

    fn line(noise: impl Fn(usize) -> f64) -> Samples {
        let mut samples = Samples::new(2, 0);
        for i in 0..500 {
            let (a, b) = ((i as f64 * 0.37).sin(), (i as f64 * 1.31).cos());
            samples.push([a, b].into_iter(), 0.75 * a - 0.25 * b + noise(i));
        }
        samples
    }

    #[test]
    fn fit_finds_the_weights_that_made_the_data() {
        let weights = line(|_| 0.0).solve(&[0.0, 0.0], 1e-6);
        assert!((weights[0] - 0.75).abs() < 1e-3 && (weights[1] + 0.25).abs() < 1e-3, "{weights:?}");
    }

    #[test]
    fn fit_is_not_moved_far_by_a_few_wild_values() {
        let weights = line(|i| if i % 50 == 0 { 30.0 } else { 0.0 }).solve(&[0.0, 0.0], 1e-3);
        assert!((weights[0] - 0.75).abs() < 0.05 && (weights[1] + 0.25).abs() < 0.05, "{weights:?}");
    }

    #[test]
    fn fit_without_enough_or_finite_data_keeps_the_prior() {
        let mut samples = Samples::new(2, 0);
        samples.push([1.0, f64::NAN].into_iter(), 1.0);
        samples.push([1.0, 1.0].into_iter(), f64::INFINITY);
        assert_eq!(samples.len(), 0);
        assert_eq!(samples.solve(&[0.5, 0.25], 1.0), vec![0.5, 0.25]);
    }
}
