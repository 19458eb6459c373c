//! A covariance from few states, shrunk to its diagonal: what the states do not span can be analyzed too (Hamill and Snyder 2000
//! add a static part to the ensemble's; Ledoit and Wolf 2004 for why).
//!
//! B = ((1 - s) V Vᵀ + s diag(V Vᵀ)) / α is that of z = √(1 - s) V w + u, w of covariance 1 / α and u with the variances
//! D = s diag(V Vᵀ) / α. Seen with errors R (diagonal), the most probable u of a w is D (D + R)⁻¹ (d - √(1 - s) V w), around
//! which it has the variances D R / (D + R); what is left to minimize is the cost of w with D + R in the place of R.

use super::cost::Design;

/// What u does where z is seen.
#[derive(Clone, Debug)]
pub struct Shrinkage {
    /// D / (D + R)
    follows: Vec<f64>,
    /// √(D R / (D + R))
    deviation: Vec<f64>,
}

impl Shrinkage {
    /// The design of w for the columns of V, which are seen with error `variance`, with the weight α and the part s of the
    /// background, and what belongs to it; `None` if s is 0.
    ///
    /// Panics unless 0 <= s < 1 (program error).
    pub fn design(mut columns: Vec<Vec<f64>>, variance: f64, (alpha, part): (f64, f64)) -> (Design, Option<Self>) {
        assert!((0.0..1.0).contains(&part), "a part {part} of the background");
        let size = columns.first().map_or(0, Vec::len);
        let of_row = |i: usize| part / alpha * columns.iter().map(|z| z[i] * z[i]).sum::<f64>();
        let apart: Vec<f64> = (0..size).map(of_row).collect();
        columns.iter_mut().flatten().for_each(|z| *z *= (1.0 - part).sqrt());
        let design = Design::whole(&columns, &apart.iter().map(|d| d + variance).collect::<Vec<_>>());
        let follows: Vec<f64> = apart.iter().map(|d| d / (d + variance)).collect();
        let deviation = follows.iter().map(|f| (f * variance).sqrt()).collect();
        (design, (part > 0.0).then_some(Self { follows, deviation }))
    }

    /// u where `left` = d - √(1 - s) V w: the most probable one, or with standard `normal` numbers a draw.
    pub fn apart(&self, left: &[f64], normal: Option<&[f64]>) -> Vec<f64> {
        let off = |i: usize| normal.map_or(0.0, |normal| self.deviation[i] * normal[i]);
        left.iter().enumerate().map(|(i, left)| self.follows[i] * left + off(i)).collect()
    }
}
