//! What the instrument looks at: series of images of one kind of particle that grows and aligns, drawn from the seed.

use super::detector::Detector;
use super::pattern::Solution;
use super::shape::Shape;
use crate::backend::random::{Purpose, Stream};
use crate::config::{Particle, Sas};

/// A solution, and the direction of its director in the plane of the detector, radians from x towards y.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scene {
    /// What scatters.
    pub solution: Solution,
    /// Of the director.
    pub angle: f64,
}

/// Names, units and meanings of [`Scene::parameters`].
pub const PARAMETERS: [[&str; 3]; 9] = [
    ["form", "1", "0 sphere, 1 core-shell, 2 ellipsoid, 3 cylinder, 4 lamella"],
    ["size", "angstrom", "mean radius (of the core, at the equator), or thickness of a lamella"],
    ["length", "angstrom", "thickness of the shell, half of the axis of the ellipsoid, length of the cylinder"],
    ["core", "1", "contrast of the core over that of the shell"],
    ["width", "1", "relative standard deviation of the size"],
    ["contrast", "1e-6 angstrom-2", "scattering length density over the solvent's"],
    ["volume_fraction", "1", "share of the volume that is particles"],
    ["alignment", "1", "kappa of the orientation distribution exp(kappa cos^2)"],
    ["angle", "radian", "of the director, from x towards y"],
];

impl Scene {
    /// Series `series` of the seed, `progress` (0 to 1) of the way: particles coarsen at the same volume, and align.
    ///
    /// Sizes are such that the instrument sees them: from 3 / (largest q) to 0.9 / (smallest q).
    pub fn new(detector: &Detector, seed: u64, series: usize, progress: f64) -> Self {
        let spec: &Sas = &detector.0;
        let draw = |block: u32| Stream::new(seed, Purpose::Sample, series as u64, 0).uniforms(block);
        let between = |u: f64, low: f64, high: f64| low + (high - low) * u;
        let ratio = |u: f64, low: f64, high: f64| low * libm::exp(u * libm::log(high / low));
        let [q_min, q_max] = detector.q_range();
        let form = spec.particles[(draw(0)[0] * spec.particles.len() as f64) as usize];
        let growth = 1.0 + progress * between(draw(0)[1], 0.1, 0.6);
        let size = growth * ratio(draw(1)[0], 3.0 / q_max, 0.9 / q_min);
        let length = match form {
            Particle::Sphere | Particle::Lamella => 0.0,
            Particle::CoreShell => size * between(draw(1)[1], 0.2, 1.0),
            Particle::Ellipsoid => size * ratio(draw(1)[1], 0.3, 3.0),
            Particle::Cylinder => size * ratio(draw(1)[1], 3.0, 15.0),
        };
        let core = if form == Particle::CoreShell { between(draw(2)[0], -1.0, 0.5) } else { 1.0 };
        let [least, most] = spec.widths;
        let solution = Solution {
            shape: Shape { form, size, length, core },
            width: between(draw(2)[1], least, most),
            contrast: between(draw(3)[0], 1.0, 6.0),
            volume_fraction: ratio(draw(3)[1], 1e-3, 3e-2),
            alignment: if matches!(form, Particle::Sphere | Particle::CoreShell) {
                0.0
            } else {
                15.0 * draw(4)[0] * progress
            },
        };
        Self { solution, angle: std::f64::consts::PI * draw(4)[1] }
    }

    /// The numbers that the image was made of, as in [`PARAMETERS`].
    pub fn parameters(&self) -> [f64; 9] {
        let Solution { shape, width, contrast, volume_fraction, alignment, .. } = self.solution;
        let form = f64::from(shape.form as u8);
        [form, shape.size, shape.length, shape.core, width, contrast, volume_fraction, alignment, self.angle]
    }
}
