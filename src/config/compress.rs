//! Section `compress`: archives under an error bound.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::Checks;

/// Section `compress`: one archive per input file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Compress {
    /// What every value of every variable obeys. Default: `{}`, no bound (the prediction as it is).
    pub error_bound: ErrorBound,
    /// What differs for single variables, by name.
    pub variables: BTreeMap<String, VariableOverride>,
    /// Parts of the grid with bounds of their own, which hold beside those of the variables: in every tile that a part
    /// touches, so the tiles should fit it. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<Region>,
    /// How tiles are predicted. Default: `auto`, the cheapest one per tile.
    pub predictor: Predictor,
    /// Model file or folder of models. Default: the models trained in this job; without any, the classical predictors.
    pub model: Option<PathBuf>,
    /// The space-time box that is coded on its own.
    pub tile: Tile,
    /// How latent values are quantized.
    pub latent: Latent,
    /// Bits per decoder weight, 2 to 16; the archive is made with the weights that read it. Default: 8.
    pub weight_bits: u32,
}

impl Default for Compress {
    fn default() -> Self {
        Self {
            error_bound: ErrorBound::default(),
            variables: BTreeMap::new(),
            regions: Vec::new(),
            predictor: Predictor::Auto,
            model: None,
            tile: Tile::default(),
            latent: Latent::default(),
            weight_bits: 8, // sparse L1 autoencoders: int8 weights cost less than 1 % of error
        }
    }
}

/// What differs for one variable.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct VariableOverride {
    /// Replaces `compress.error_bound`.
    pub error_bound: Option<ErrorBound>,
    /// Replaces `compress.predictor`.
    pub predictor: Option<Predictor>,
}

/// A part of the grid with a bound of its own: a box, the cells of a mask, or the cells of a mask in a box.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Region {
    /// Cells A to B - 1 along z, counted from 0: `[A, B]`. Default: all.
    pub z: Option<[usize; 2]>,
    /// The same along y.
    pub y: Option<[usize; 2]>,
    /// The same along x.
    pub x: Option<[usize; 2]>,
    /// Variable of the inputs on (z, y, x) or (y, x), as a land mask: cells where it is neither 0 nor missing. Default: all.
    pub mask: Option<String>,
    /// Variables that it is for. Default: all.
    pub variables: Option<Vec<String>>,
    /// What every value there obeys, beside the bound of its variable.
    pub error_bound: ErrorBound,
}

/// Bound on the error of every value, or on the size; several together: all hold; none: no promise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ErrorBound {
    /// |x - x'| at most this, in the unit of the variable.
    pub abs: Option<f64>,
    /// |x - x'| at most this fraction of max - min over the finite, unmasked values of the variable in that file.
    pub rel: Option<f64>,
    /// |x - x'| at most this fraction of |x|.
    pub pw_rel: Option<f64>,
    /// Peak signal-to-noise ratio at least this, dB: -20 log10(RMSE / value range).
    pub psnr: Option<f64>,
    /// Root mean square of x - x' over max - min at most this: another way to say `psnr`.
    pub nrmse: Option<f64>,
    /// Bits per stored value, missing ones too, that every tile takes at most, its mask and its place in the index counted,
    /// with as little error as the classical predictors reach. No other bound beside it.
    pub rate: Option<f64>,
    /// The same as stored bytes over compressed bytes, at least this in every tile.
    pub ratio: Option<f64>,
    /// Energy by wavenumber: |E'(k) - E(k)| at most this part of E(k) in every step of every tile, for waves of at least four
    /// cells, and the energy of their error a quarter of E(k).
    pub spectrum: Option<f64>,
    /// |log10 |x| - log10 |x'|| at most this: decades of an intensity.
    pub decades: Option<f64>,
    /// Of images of counts: I(q), over rings of half a pixel around the beam, within this part of the noise of counting,
    /// sqrt(counts of the ring); of the pattern along the rings what stands out of the noise. No other bound beside it.
    pub iq_sigma: Option<f64>,
}

/// How tiles are predicted; the residual repairs what the prediction missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Predictor {
    /// The cheapest one per tile.
    Auto,
    /// The decoder of a trained model.
    Learned,
    /// Multi-level interpolation in space and time.
    Interpolation,
    /// From the already decoded neighbors (Lorenzo).
    Lorenzo,
    /// A lapped linear transform of blocks in space and time.
    Linear,
}

/// The space-time box that is coded on its own: reading a step reads the tiles that cover it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tile {
    /// Steps along the sample axis. Default: chosen from the grid and the predictor.
    pub steps: Option<usize>,
    /// Cells along z, y, x. Default: chosen from the grid and the predictor; whole images under `iq_sigma`.
    pub cells: Option<[usize; 3]>,
}

/// How latent values are quantized.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Latent {
    /// Width of a quantization step, in root mean squares of the latent values that are not 0. Default: 1/32, as a
    /// latent is small next to the residual; of models trained under `train.rate` the step that they were trained for.
    pub step: Option<f64>,
    /// Latent values of a sample that are stored: the largest, the others are 0. Default: all, or `model.keep`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<usize>,
    /// Latent values below so many of these root mean squares are 0. Default: none are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
}

impl ErrorBound {
    /// Bits per value that are allowed, for values of so many bytes.
    pub fn bits_per_value(&self, bytes: usize) -> Option<f64> {
        self.rate.or(self.ratio.map(|ratio| 8.0 * bytes as f64 / ratio))
    }

    /// Whether nothing is promised.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The bounds by their keys.
    pub fn parts(&self) -> [(&'static str, Option<f64>); 10] {
        [
            ("abs", self.abs),
            ("rel", self.rel),
            ("pw_rel", self.pw_rel),
            ("psnr", self.psnr),
            ("nrmse", self.nrmse),
            ("rate", self.rate),
            ("ratio", self.ratio),
            ("spectrum", self.spectrum),
            ("decades", self.decades),
            ("iq_sigma", self.iq_sigma),
        ]
    }

    fn check(&self, checks: &mut Checks, at: &str) {
        for (key, value) in self.parts() {
            let ok = value.is_none_or(|v| v.is_finite() && v > 0.0);
            checks.require(ok, &format!("{at}.{key}"), || "a finite number above 0; leave the key out for none".into());
        }
        checks.require(self.pw_rel.is_none_or(|v| v < 1.0), &format!("{at}.pw_rel"), || "a fraction below 1".into());
        checks.require(self.iq_sigma.is_none_or(|v| v <= 1.0), &format!("{at}.iq_sigma"), || {
            "a part of the noise, at most 1".into()
        });
        for (key, value) in [("nrmse", self.nrmse), ("spectrum", self.spectrum)] {
            checks.require(value.is_none_or(|v| v < 1.0), &format!("{at}.{key}"), || "a fraction below 1".into());
        }
        let given = self.parts().iter().filter(|(_, value)| value.is_some()).count();
        for (key, value) in [("iq_sigma", self.iq_sigma), ("rate", self.rate), ("ratio", self.ratio)] {
            checks.require(value.is_none() || given == 1, &format!("{at}.{key}"), || {
                "stands alone: leave out the other bounds".into()
            });
        }
        checks.require(self.rel.is_none_or(|v| v <= 1.0), &format!("{at}.rel"), || "a fraction, at most 1".into());
    }
}

impl Region {
    /// Most of them.
    const MOST: usize = 64;

    /// The cells along z, y, x by their keys.
    pub fn ranges(&self) -> [(&'static str, Option<[usize; 2]>); 3] {
        [("z", self.z), ("y", self.y), ("x", self.x)]
    }

    /// Whether it is for a variable.
    pub fn is_for(&self, variable: &str) -> bool {
        self.variables.as_ref().is_none_or(|names| names.iter().any(|name| name == variable))
    }

    fn check(&self, checks: &mut Checks, at: &str) {
        for (key, range) in self.ranges() {
            checks.require(range.is_none_or(|[first, end]| first < end), &format!("{at}.{key}"), || {
                "[A, B] with A < B: cells A to B - 1".into()
            });
        }
        let bound = &self.error_bound;
        bound.check(checks, &format!("{at}.error_bound"));
        let kept = !bound.is_none() && bound.bits_per_value(1).is_none() && bound.iq_sigma.is_none();
        checks.require(kept, &format!("{at}.error_bound"), || {
            "a bound on the error, for example {abs: 0.1}; not rate, ratio or iq_sigma".into()
        });
    }
}

impl Compress {
    /// The bound of one variable.
    pub fn error_bound_of(&self, variable: &str) -> ErrorBound {
        self.variables.get(variable).and_then(|v| v.error_bound).unwrap_or(self.error_bound)
    }

    /// Whether I(q) of a variable is bounded: over whole images.
    pub fn is_of_rings(&self, variable: &str) -> bool {
        self.error_bound_of(variable).iq_sigma.is_some()
    }

    /// Tiles of a group on this grid (z, y, x).
    pub fn tile_of<'n>(&self, mut variables: impl Iterator<Item = &'n str>, grid: [usize; 3]) -> Tile {
        let cells = if variables.any(|name| self.is_of_rings(name)) { Some(grid) } else { self.tile.cells };
        Tile { cells, ..self.tile.clone() }
    }

    /// The predictor of one variable.
    pub fn predictor_of(&self, variable: &str) -> Predictor {
        self.variables.get(variable).and_then(|v| v.predictor).unwrap_or(self.predictor)
    }

    /// Whether a model may predict a variable: not under a bound on the size, as the two ways to code a tile are told apart
    /// by their sizes.
    pub fn may_learn(&self, variable: &str) -> bool {
        matches!(self.predictor_of(variable), Predictor::Auto | Predictor::Learned)
            && self.error_bound_of(variable).bits_per_value(1).is_none()
    }

    fn check_learned(&self, variable: &str, at: &str, checks: &mut Checks) {
        let learned = self.predictor_of(variable) == Predictor::Learned;
        checks.require(!learned || self.may_learn(variable), at, || {
            "learned: error_bound.rate and ratio are for the other predictors; give a bound on the error".into()
        });
    }

    pub(super) fn check(&self, checks: &mut Checks) {
        self.error_bound.check(checks, "compress.error_bound");
        for (name, over) in &self.variables {
            if let Some(bound) = &over.error_bound {
                bound.check(checks, &format!("compress.variables.{name}.error_bound"));
            }
            self.check_learned(name, &format!("compress.variables.{name}"), checks);
        }
        self.check_learned("", "compress.predictor", checks);
        for (i, region) in self.regions.iter().enumerate() {
            region.check(checks, &format!("compress.regions[{i}]"));
        }
        checks.require(self.regions.len() <= Region::MOST, "compress.regions", || format!("at most {}", Region::MOST));
        let alone = |bound: &ErrorBound| bound.bits_per_value(1).is_some() || bound.iq_sigma.is_some();
        let bounds = self.variables.values().filter_map(|over| over.error_bound.as_ref()).chain([&self.error_bound]);
        checks.require(self.regions.is_empty() || !bounds.into_iter().any(alone), "compress.regions", || {
            "error_bound.rate, ratio and iq_sigma stand alone: leave out the regions".into()
        });
        checks.require(self.tile.steps != Some(0), "compress.tile.steps", || "0: at least one step".into());
        checks.require(self.tile.cells.is_none_or(|c| !c.contains(&0)), "compress.tile.cells", || {
            "0: at least one cell along each axis".into()
        });
        let of_rings = self.variables.keys().map(String::as_str).chain([""]).any(|name| self.is_of_rings(name));
        checks.require(!of_rings || self.tile.cells.is_none(), "compress.tile.cells", || {
            "error_bound.iq_sigma is of whole images: leave the key out".into()
        });
        if let Some(step) = self.latent.step {
            checks.positive_real(step, "compress.latent.step");
        }
        checks.require(self.latent.keep != Some(0), "compress.latent.keep", || "0: at least one latent value".into());
        if let Some(threshold) = self.latent.threshold {
            checks.positive_real(threshold, "compress.latent.threshold");
        }
        checks.require((2..=16).contains(&self.weight_bits), "compress.weight_bits", || {
            format!("{}: 2 to 16", self.weight_bits)
        });
    }
}
