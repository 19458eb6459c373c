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

/// Numbers for draw `number` of the state `index`: for its control vector, and for what is beside it.
pub fn streams(seed: u64, (index, number): (u64, usize)) -> [Stream; 2] {
    let number = u32::try_from(2 * number).expect("fewer than 2^31 draws");
    [number, number + 1].map(|number| Stream::new(seed, Purpose::Posterior, index, number))
}

/// A draw of the control vector around its minimum `w`.
pub fn draw(hessian: &Hessian, w: &[f64], stream: &Stream) -> Vec<f64> {
    hessian.solve_root(&normals(stream, w.len())).iter().zip(w).map(|(dw, w)| w + dw).collect()
}

/// So many independent standard normal numbers.
pub fn normals(stream: &Stream, count: usize) -> Vec<f64> {
    let pairs = 0..u32::try_from(count.div_ceil(2)).expect("fewer than 2^33 numbers");
    pairs.flat_map(|pair| stream.normals(pair)).take(count).collect()
}
