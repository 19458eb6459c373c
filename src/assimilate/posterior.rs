//! The posterior around an analysis: w is normal with covariance A = (∇²J)⁻¹ (Fisher & Courtier 1995), exactly so where the
//! state depends linearly on w.

use super::background::{Control, Ensemble};
use super::cost::Hessian;
use crate::backend::random::{Purpose, Stream};

/// Columns of V T L⁻ᵀ that are there at a time.
const COLUMNS: usize = 8;

/// The diagonal of V T A Tᵀ Vᵀ, the variance of the state, in this rank's rows.
pub fn variance(ensemble: &Ensemble, control: &Control, hessian: &Hessian) -> Vec<f64> {
    let k = hessian.dimension();
    let mut sums = vec![0.0; ensemble.layout().owned_rows().len()];
    for columns in hessian.root().chunks(COLUMNS * k) {
        let t: Vec<f64> = columns.chunks(k).flat_map(|column| control.finish_row(column.to_vec())).collect();
        let part = control.observed(ensemble).times(&t, columns.len() / k).row_norms2();
        sums.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
    }
    sums
}

/// Draw `number` of the control vector of the state `index` around its minimum `w`: of seed and numbers alone.
pub fn draw(hessian: &Hessian, w: &[f64], seed: u64, (index, number): (u64, usize)) -> Vec<f64> {
    let number = u32::try_from(number).expect("fewer than 2^32 draws");
    let stream = Stream::new(seed, Purpose::Posterior, index, number);
    let pairs = 0..u32::try_from(w.len().div_ceil(2)).expect("fewer than 2^33 numbers");
    let normal: Vec<f64> = pairs.flat_map(|pair| stream.normals(pair)).take(w.len()).collect();
    hessian.solve_root(&normal).iter().zip(w).map(|(dw, w)| w + dw).collect()
}
