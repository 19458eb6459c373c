//! Section `generate`: make input data.
//!
//! A generator is a name and the numbers that belong to it. The keys of all generators stand side by side in [`Generate`];
//! which generator has which, and its defaults, stand once in the tables of numbers below. A key of another generator is
//! refused.
//!
//! Adding a generator: its name in [`Generator`], its keys in [`Generate`], its table, one line in [`each_generator`].

mod numbers;
mod particle;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::Checks;
use numbers::each_generator;

pub use numbers::{Kolmogorov, KuramotoSivashinsky, Lorenz96, Sas, Stack, Turbulence, UrbanFlow, lots};
pub use particle::Particle;

/// Section `generate`: simulated data whose files become `data.inputs`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Generate {
    /// Which generator. Default: `urban-flow`.
    pub name: Generator,
    /// Number of snapshots written. Default: 200; `stack`: all files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshots: Option<usize>,
    /// `urban-flow`: cells along x (wind), y (span), z (height). Default: [91, 85, 32] (the grid of VarDACAE).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grid: Option<[usize; 3]>,
    /// `urban-flow`: length of the domain along x, m; cells are cubes, so that the grid gives width and height.
    /// Default: 700 (Elephant & Castle, VarDACAE: 700 x 650 x 250 m).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length_m: Option<f64>,
    /// `urban-flow`: wind along x, mean over the air of the domain, m/s; held by a force. Default: 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wind_m_s: Option<f64>,
    /// `urban-flow`: slow swings of the mean wind speed (standard deviation, as a share of it), over minutes.
    /// Default: 0.2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gustiness: Option<f64>,
    /// `urban-flow`: slow swings of the mean wind direction (standard deviation, degrees), over minutes. Default: 15.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub veer_deg: Option<f64>,
    /// `urban-flow`: time between two snapshots, s. Default: 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval_s: Option<f64>,
    /// `urban-flow`: time simulated before the first snapshot, s. Default: 600 (about four flows through the domain).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spin_up_s: Option<f64>,
    /// `urban-flow`: mean wind in lattice units (cells per step): smaller is slower and less compressible.
    /// Default: 0.08.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lattice_speed: Option<f64>,
    /// `urban-flow`: Smagorinsky constant. Default: 0.17 (Lilly 1967, isotropic turbulence).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smagorinsky: Option<f64>,
    /// `urban-flow`: number of block buildings. Default: 24.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buildings: Option<usize>,
    /// `urban-flow`: height of the tallest building, m. Default: 80.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub building_height_max_m: Option<f64>,
    /// `stack`: files of one image or curve each, names or glob patterns; in the order of their names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<Vec<String>>,
    /// `stack`: the variable of an HDF5 or NetCDF file, by its path or the end of it. Default: `I`, else the largest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variable: Option<String>,
    /// `sas`: pixels of the detector along x and y. Default: [128, 128].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pixels: Option<[usize; 2]>,
    /// `sas`: edge of a pixel, mm. Default: 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pixel_mm: Option<f64>,
    /// `sas`: distance of the detector from the sample, m. Default: 4.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distance_m: Option<f64>,
    /// `sas`: wavelength, angstrom. Default: 6 (cold neutrons).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wavelength_angstrom: Option<f64>,
    /// `sas`: standard deviation of the wavelength over its mean. Default: 0.043 (10 % full width at half
    /// maximum).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wavelength_spread: Option<f64>,
    /// `sas`: standard deviation of the spot of the direct beam on the detector, mm. Default: 4.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beam_mm: Option<f64>,
    /// `sas`: radius of the beam stop, mm. Default: 20.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beam_stop_mm: Option<f64>,
    /// `sas`: what is in solution; each series of images has one of these. Default: all there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub particles: Option<Vec<Particle>>,
    /// `sas`: least and largest relative standard deviation of sizes (Schulz distribution). Default:
    /// [0.02, 0.15].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub widths: Option<[f64; 2]>,
    /// `sas`: images of one series, in which the particles grow. Default: 20.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frames: Option<usize>,
    /// `sas`: expected counts of the image in the middle of a series. Default: 1e6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counts: Option<f64>,
    /// `sas`: expected counts of a pixel that no particle scattered. Default: 0.2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub background: Option<f64>,
    /// Equations (`turbulence` to `lorenz96`): points along each axis. Default: `turbulence` 64, `kolmogorov` 128,
    /// `kuramoto-sivashinsky` 64, `lorenz96` 40 (Lorenz and Emanuel 1998).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cells: Option<usize>,
    /// Equations: time between two snapshots, in units of the equation. Default: `turbulence` 0.1,
    /// `kolmogorov` 0.5, `kuramoto-sivashinsky` 1, `lorenz96` 0.05 (six hours of an atmosphere, Lorenz 1996).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<f64>,
    /// Equations: time simulated before the first interval, in units of the equation. Default:
    /// `turbulence` 5 if forced, else 0; `kolmogorov` 20, `kuramoto-sivashinsky` 100, `lorenz96` 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spin_up: Option<f64>,
    /// Equations: largest time step, in units of the equation; an interval is a whole number of
    /// steps. Default: `turbulence` 0.75 / cells (Taylor-Green 2 / cells), `kolmogorov` 1 / cells,
    /// `kuramoto-sivashinsky` 0.25 (Kassam and Trefethen 2005), `lorenz96` 0.05 (Lorenz 1996).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_step: Option<f64>,
    /// `turbulence`, `kolmogorov`: kinematic viscosity; the box is 2 pi long. Default: `turbulence` 0.01 with
    /// `taylor-green` (Reynolds number 100), else what makes the largest wavenumber times the Kolmogorov length 1.5 at
    /// the dissipation `power`; `kolmogorov` 0.025.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub viscosity: Option<f64>,
    /// `turbulence`: how it starts. Default: `isotropic`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial: Option<Initial>,
    /// `turbulence`: what keeps it going. Default: `low-wavenumber` with `isotropic`, `none` with `taylor-green`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forcing: Option<Forcing>,
    /// `turbulence`: power of the force `low-wavenumber` per mass. Default: 0.3 (velocities of about 1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power: Option<f64>,
    /// `kolmogorov`: wavenumber of the force sin(k y). Default: 4 (Chandler and Kerswell 2013).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forcing_wavenumber: Option<usize>,
    /// `kolmogorov`: linear drag. Default: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drag: Option<f64>,
    /// `kuramoto-sivashinsky`: length of the line. Default: 22 (Cvitanovic, Davidchack and Siminos 2010).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<f64>,
    /// `lorenz96`: the force F. Default: 8 (Lorenz 1996).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub force: Option<f64>,
}

/// Snapshots where the job file does not say.
const SNAPSHOTS: usize = 200;

/// How turbulence starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Initial {
    /// A random solenoidal field with root-mean-square components of 1, most of it at wavenumber 3.
    Isotropic,
    /// The Taylor-Green vortex of amplitude 1 (Brachet et al. 1983).
    TaylorGreen,
}

/// What keeps turbulence going.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Forcing {
    /// Nothing: it decays.
    None,
    /// Constant power into wavenumbers up to 2.
    LowWavenumber,
}

/// Which generator makes the input data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Generator {
    /// Lattice-Boltzmann wind (D3Q19, Smagorinsky) past block buildings with a passive tracer.
    #[default]
    UrbanFlow,
    /// Images of small-angle scattering by particles in solution, as a detector counts them.
    Sas,
    /// Incompressible flow in a periodic box, decaying or forced.
    Turbulence,
    /// Two-dimensional flow under a sinusoidal force.
    Kolmogorov,
    /// The Kuramoto-Sivashinsky equation on a line.
    KuramotoSivashinsky,
    /// The Lorenz 96 model.
    Lorenz96,
    /// Nothing new: many small files of images or curves become one.
    Stack,
}

impl Generator {
    /// The word of the job file, which is also the name of the file that it makes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UrbanFlow => "urban-flow",
            Self::Sas => "sas",
            Self::Turbulence => "turbulence",
            Self::Kolmogorov => "kolmogorov",
            Self::KuramotoSivashinsky => "kuramoto-sivashinsky",
            Self::Lorenz96 => "lorenz96",
            Self::Stack => "stack",
        }
    }
}

/// The numbers of one generator.
trait Numbers: Sized {
    /// Their keys in [`Generate`].
    const KEYS: &'static [&'static str];

    /// Writes every number into the section.
    fn fill(self, section: &mut Generate);

    /// Notes numbers that make no sense.
    fn check(&self, checks: &mut Checks);
}

impl Generate {
    /// Snapshots that are written; of `stack` known once its files are.
    pub fn snapshots(&self) -> usize {
        self.snapshots.unwrap_or(SNAPSHOTS)
    }

    pub(super) fn check(&self, checks: &mut Checks) {
        checks.positive(self.snapshots(), "generate.snapshots");
        let keys = each_generator!(self.name, T => T::KEYS);
        let section = serde_json::to_value(self).expect("a section is plain data with text keys");
        let given = section.as_object().into_iter().flatten().map(|(key, _)| key.as_str());
        for key in given.filter(|key| !["name", "snapshots"].contains(key) && !keys.contains(key)) {
            checks.require(false, &format!("generate.{key}"), || {
                format!("not a key of generator `{}`; it has snapshots, {}", self.name.as_str(), keys.join(", "))
            });
        }
        each_generator!(self.name, T => T::of(self).check(checks));
    }

    /// Fills in every number that belongs to the generator.
    pub(super) fn resolve(&mut self) {
        if self.name != Generator::Stack {
            self.snapshots = Some(self.snapshots());
        }
        each_generator!(self.name, T => T::of(self).fill(self));
    }
}
