//! Weights that predict best, found by the encoder: least absolute residuals by reweighted least squares.
//!
//! Minimizes sum_i max(|r_i|, s)-weighted squares of r = y - A w with a pull towards `prior`; three rounds of
//! weights 1 / max(|r_i|, s). Absolute residuals, not squares, follow the length of their code; s is half a
//! quantization step, below which a residual costs nothing more.
//!
//! Only the encoder runs this: what it decides is stored as integers.

/// Rounds of reweighting.
const ROUNDS: usize = 2;
/// Pull towards the prior, in parts of the mean diagonal of the normal matrix.
const RIDGE: f64 = 1.0e-4;

/// Rows of a linear model: `columns` numbers each, and the target.
#[derive(Debug, Default)]
pub(super) struct Samples {
    columns: usize,
    rows: Vec<f64>,
    targets: Vec<f64>,
}

impl Samples {
    /// No rows yet of `columns` numbers.
    pub fn new(columns: usize) -> Self {
        Self { columns, rows: Vec::new(), targets: Vec::new() }
    }

    /// Adds a row; rows with a number that is not finite are left out.
    pub fn push(&mut self, row: impl Iterator<Item = f64>, target: f64) {
        let start = self.rows.len();
        self.rows.extend(row.take(self.columns));
        if target.is_finite() && self.rows[start..].iter().all(|v| v.is_finite()) {
            self.targets.push(target);
        } else {
            self.rows.truncate(start);
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.targets.len()
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
        for (row, &target) in self.rows.chunks_exact(n).zip(&self.targets) {
            let importance = scale.map_or(1.0, |s| {
                let residual: f64 = target - row.iter().zip(weights).map(|(a, w)| a * w).sum::<f64>();
                s / residual.abs().max(s)
            });
            for i in 0..n {
                let a = importance * row[i];
                right[i] += a * target;
                for (m, &b) in matrix[i * n..i * n + i + 1].iter_mut().zip(row) {
                    *m += a * b;
                }
            }
        }
        (matrix, right)
    }
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

    fn line(noise: impl Fn(usize) -> f64) -> Samples {
        let mut samples = Samples::new(2);
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
        let mut samples = Samples::new(2);
        samples.push([1.0, f64::NAN].into_iter(), 1.0);
        samples.push([1.0, 1.0].into_iter(), f64::INFINITY);
        assert_eq!(samples.len(), 0);
        assert_eq!(samples.solve(&[0.5, 0.25], 1.0), vec![0.5, 0.25]);
    }
}
