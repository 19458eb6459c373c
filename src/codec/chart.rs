//! The map between the numbers of a tile and those that its body holds: scale, and prediction taken off.

use super::lattice;
use super::sample::Sample;
use super::warp::{self, Log};

/// A prediction as a stored value.
pub(super) fn bare<T: Sample>(prediction: f32) -> T {
    let number = f64::from(prediction);
    T::from_number(if T::INTEGRAL { lattice::round(number) } else { number })
}

/// The map between stored numbers and working numbers: the scale, and the prediction that is taken off.
pub(super) struct Chart<'a> {
    /// What is taken off.
    pub prediction: Option<&'a [f32]>,
    /// Logarithmic scale of magnitudes, or the numbers themselves.
    pub log: Option<Log>,
    /// Whether numbers are integers.
    pub integral: bool,
}

impl Chart<'_> {
    /// The prediction of value `p` on the scale.
    #[inline]
    fn base(&self, p: usize) -> f64 {
        let Some(prediction) = self.prediction else { return 0.0 };
        let number = f64::from(prediction[p]);
        let number = if number.is_finite() { number } else { 0.0 };
        match self.log {
            Some(log) => log.forward(number.abs()),
            None if self.integral => lattice::round(number),
            None => number,
        }
    }

    /// The working number of value `p`.
    #[inline]
    pub fn forward(&self, p: usize, number: f64) -> f64 {
        self.log.map_or(number, |log| log.forward(number.abs())) - self.base(p)
    }

    /// The stored value of working number `y` of value `p`; `signs` on a logarithmic scale.
    #[inline]
    pub fn back<T: Sample>(&self, p: usize, y: f64, signs: &[u8]) -> T {
        let number = y + self.base(p);
        T::from_number(match self.log {
            Some(log) => {
                let number = warp::signed(signs[p], log.inverse(number));
                if T::INTEGRAL { lattice::round(number) } else { number }
            }
            None => number,
        })
    }
}
