//! Quality of a reconstruction, accumulated in f64 over any number of pieces.

use serde::{Deserialize, Deserializer, Serialize};

/// Running sums of the error x' - x over values that count (finite and unmasked).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Values counted.
    pub n: u64,
    /// Sum of (x' - x)^2, in squared units of the variable.
    #[serde(deserialize_with = "or_infinity")]
    pub squared_error: f64,
    /// Sum of x^2.
    #[serde(deserialize_with = "or_infinity")]
    pub squared_value: f64,
    /// Largest |x' - x|.
    #[serde(deserialize_with = "or_infinity")]
    pub max_abs_error: f64,
    /// Smallest x.
    #[serde(deserialize_with = "or_infinity")]
    pub min: f64,
    /// Largest x.
    #[serde(deserialize_with = "or_minus_infinity")]
    pub max: f64,
}

/// Reads a number, infinity for the `null` that JSON has in its place.
pub fn or_infinity<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::INFINITY))
}

fn or_minus_infinity<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    or_infinity(deserializer).map(|v| if v == f64::INFINITY { f64::NEG_INFINITY } else { v })
}

impl Default for Quality {
    fn default() -> Self {
        Self {
            n: 0,
            squared_error: 0.0,
            squared_value: 0.0,
            max_abs_error: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
        }
    }
}

impl Quality {
    /// Counts one value x and its reconstruction x'.
    #[inline]
    pub fn add(&mut self, x: f64, x_prime: f64) {
        let error = (x_prime - x).abs();
        self.n += 1;
        self.squared_error += error * error;
        self.squared_value += x * x;
        self.max_abs_error = if error > self.max_abs_error || error.is_nan() { error } else { self.max_abs_error };
        self.min = self.min.min(x);
        self.max = self.max.max(x);
    }

    /// Joins the sums of two pieces; the order of joining must be fixed where bits matter.
    pub fn join(&mut self, other: &Self) {
        self.n += other.n;
        self.squared_error += other.squared_error;
        self.squared_value += other.squared_value;
        self.max_abs_error = self.max_abs_error.max(other.max_abs_error);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// Root mean square error, units of the variable; 0 without values.
    pub fn rmse(&self) -> f64 {
        if self.n == 0 { 0.0 } else { (self.squared_error / self.n as f64).sqrt() }
    }

    /// RMSE / (max - min); 0 for an exact reconstruction even of a constant.
    pub fn nrmse(&self) -> f64 {
        if self.squared_error == 0.0 { 0.0 } else { self.rmse() / (self.max - self.min) }
    }

    /// -20 log10(nrmse), dB, with max - min as the peak; `None` when exact.
    pub fn psnr_db(&self) -> Option<f64> {
        (self.squared_error > 0.0).then(|| -20.0 * self.nrmse().log10())
    }

    /// ||x' - x||_2 / ||x||_2
    pub fn rel_l2(&self) -> f64 {
        if self.squared_error == 0.0 { 0.0 } else { (self.squared_error / self.squared_value).sqrt() }
    }
}
