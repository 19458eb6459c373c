//! What compressing a variable came to: the figures of `metrics.json`, and the summary that travels in the archive.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::report::metrics::{Quality, or_infinity};
use crate::report::physics::Physics;

/// What the archives of one variable add up to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Total {
    pub quality: Quality,
    pub original_bytes: u64,
    pub compressed_bytes: u64,
    pub violations: u64,
    /// The largest error allowed anywhere, physical units; infinite without a bound.
    #[serde(deserialize_with = "or_infinity")]
    pub bound: f64,
    pub mode: String,
    /// I(q) of images of counts: rings, sum of their squared errors in units of the noise, the largest.
    #[serde(default)]
    pub iq: [f64; 3],
    /// Smallest and largest y, and x, of the beam in the tiles of such images, pixels.
    #[serde(default)]
    pub beam: Option<[[f64; 2]; 2]>,
    /// Values that were found to be no measurements.
    #[serde(default)]
    pub defects: u64,
    /// The tiles under bounds of regions.
    #[serde(default)]
    pub regions: Vec<OfRegion>,
    /// Of some steps.
    #[serde(default)]
    pub physics: Physics,
    /// Tiles by class of their predictor.
    pub tiles: BTreeMap<String, u64>,
}

/// What the tiles that a region touches came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct OfRegion {
    /// Its place in `compress.regions`.
    pub number: usize,
    pub tiles: u64,
    /// The largest error that it allows anywhere, physical units; infinite where it bounds a mean.
    #[serde(deserialize_with = "or_infinity")]
    pub bound: f64,
    pub max_abs_error: f64,
}

impl OfRegion {
    fn join(&mut self, other: &Self) {
        self.tiles += other.tiles;
        self.bound = self.bound.max(other.bound);
        self.max_abs_error = self.max_abs_error.max(other.max_abs_error);
    }
}

impl Total {
    /// Adds the same variable of another file.
    pub fn join(&mut self, other: &Self) {
        self.quality.join(&other.quality);
        self.original_bytes += other.original_bytes;
        self.compressed_bytes += other.compressed_bytes;
        self.violations += other.violations;
        self.bound = self.bound.max(other.bound);
        self.mode.clone_from(&other.mode);
        self.iq = [self.iq[0] + other.iq[0], self.iq[1] + other.iq[1], self.iq[2].max(other.iq[2])];
        let both = |[a, b]: [f64; 2], [c, d]: [f64; 2]| [a.min(c), b.max(d)];
        let joined = self.beam.zip(other.beam).map(|(a, b)| [both(a[0], b[0]), both(a[1], b[1])]);
        self.beam = joined.or(self.beam).or(other.beam);
        self.defects += other.defects;
        for region in &other.regions {
            match self.regions.iter_mut().find(|found| found.number == region.number) {
                Some(found) => found.join(region),
                None => self.regions.push(region.clone()),
            }
        }
        self.physics.join(&other.physics);
        for (class, count) in &other.tiles {
            *self.tiles.entry(class.clone()).or_default() += count;
        }
    }

    /// Bits per value that counts (finite and unmasked).
    pub fn bits_per_value(&self) -> f64 {
        if self.quality.n == 0 { 0.0 } else { 8.0 * self.compressed_bytes as f64 / self.quality.n as f64 }
    }

    /// Where the beam of images was found, and what else of them is told.
    pub fn of_images(&self) -> Option<String> {
        let range = |[low, high]: [f64; 2]| if low == high { format!("{low}") } else { format!("{low} to {high}") };
        let [y, x] = self.beam?.map(range);
        let defects = self.defects;
        Some(format!("beam at y {y}, x {x} (pixels from 0); {defects} values are found to be no measurements and kept"))
    }

    /// The keys of the contract; `model_bytes`: the share of the decoder.
    pub fn to_json(&self, model_bytes: f64) -> Value {
        let q = &self.quality;
        let region = |r: &OfRegion| json!({ "region": r.number, "tiles": r.tiles, "error_bound_abs": r.bound, "max_abs_error": r.max_abs_error });
        json!({
            "original_bytes": self.original_bytes,
            "compressed_bytes": self.compressed_bytes,
            "ratio": ratio(self.original_bytes, self.compressed_bytes),
            "ratio_with_model": self.original_bytes as f64 / (self.compressed_bytes as f64 + model_bytes).max(1.0),
            "bits_per_value": self.bits_per_value(),
            "error_bound_mode": self.mode,
            "error_bound_abs": self.bound,
            "max_abs_error": q.max_abs_error,
            "bound_violations": self.violations,
            "nrmse": q.nrmse(),
            "psnr_db": q.psnr_db(),
            "rel_l2": q.rel_l2(),
            "iq_error_sigma": (self.iq[0] > 0.0).then(|| (self.iq[1] / self.iq[0]).sqrt()),
            "iq_error_sigma_max": (self.iq[0] > 0.0).then_some(self.iq[2]),
            "beam_center": self.beam.map(|[y, x]| json!({"y": y, "x": x})),
            "defects": (self.iq[0] > 0.0).then_some(self.defects),
            "tiles": self.tiles,
            "regions": self.regions.iter().map(region).collect::<Vec<_>>(),
            "physics": self.physics.to_json(),
        })
    }
}

/// Bytes before over bytes after.
pub(super) fn ratio(original: u64, compressed: u64) -> f64 {
    original as f64 / compressed.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_keeps_every_bit_also_of_what_json_has_no_number_for() {
        let mut total = Total { bound: f64::INFINITY, mode: "none".into(), ..Total::default() };
        let back = |total: &Total| -> Total { serde_json::from_str(&serde_json::to_string(total).unwrap()).unwrap() };
        assert_eq!(back(&total), total, "no values: the range is empty");
        total.quality.add(0.1, 0.1 + 1e-9);
        total.tiles.insert("classical".into(), 3);
        total.bound = 1.0 / 3.0;
        assert_eq!(back(&total), total);
    }
}
