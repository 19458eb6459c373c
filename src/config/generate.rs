//! Section `generate`: make input data.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::Checks;

/// Section `generate`: a simulated flow whose files become `data.inputs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Generate {
    /// Which generator. Default: `urban-flow`.
    pub name: Generator,
    /// Number of snapshots written. Default: 200.
    pub snapshots: usize,
    /// Cells along x (wind), y (span), z (height). Default: [91, 85, 32] (the grid of VarDACAE).
    pub grid: [usize; 3],
    /// Length of the domain along x, m; cells are cubes, so that the grid gives width and height. Default: 700
    /// (Elephant & Castle, VarDACAE: 700 x 650 x 250 m).
    pub length_m: f64,
    /// Wind along x, mean over the air of the domain, m/s; held by a force. Default: 5.
    pub wind_m_s: f64,
    /// Slow swings of the mean wind speed (standard deviation, as a share of it), over minutes. Default: 0.2.
    pub gustiness: f64,
    /// Slow swings of the mean wind direction (standard deviation, degrees), over minutes. Default: 15.
    pub veer_deg: f64,
    /// Time between two snapshots, s. Default: 10.
    pub interval_s: f64,
    /// Time simulated before the first snapshot, s. Default: 600 (about four flows through the domain).
    pub spin_up_s: f64,
    /// Mean wind in lattice units (cells per step): smaller is slower and less compressible. Default: 0.08.
    pub lattice_speed: f64,
    /// Smagorinsky constant. Default: 0.17 (Lilly 1967, isotropic turbulence).
    pub smagorinsky: f64,
    /// Number of block buildings. Default: 24.
    pub buildings: usize,
    /// Height of the tallest building, m. Default: 80.
    pub building_height_max_m: f64,
}

/// Which generator makes the input data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Generator {
    /// Lattice-Boltzmann wind (D3Q19, Smagorinsky) past block buildings with a passive tracer.
    UrbanFlow,
}

impl Default for Generate {
    fn default() -> Self {
        Self {
            name: Generator::UrbanFlow,
            snapshots: 200,
            grid: [91, 85, 32], // VarDACAE
            length_m: 700.0,    // VarDACAE
            wind_m_s: 5.0,
            gustiness: 0.2,
            veer_deg: 15.0,
            interval_s: 10.0,
            spin_up_s: 600.0,
            lattice_speed: 0.08, // Mach 0.14, compressibility error about 1 %
            smagorinsky: 0.17,   // Lilly 1967
            buildings: 24,
            building_height_max_m: 80.0,
        }
    }
}

impl Generate {
    pub(super) fn check(&self, checks: &mut Checks) {
        checks.positive(self.snapshots, "generate.snapshots");
        checks.require(self.grid.iter().all(|&n| n >= 8), "generate.grid", || {
            format!("{:?}: at least 8 cells along each axis", self.grid)
        });
        checks.positive_real(self.length_m, "generate.length_m");
        checks.positive_real(self.wind_m_s, "generate.wind_m_s");
        checks.require((0.0..=0.3).contains(&self.gustiness), "generate.gustiness", || {
            format!("{}: a share of the wind speed, 0 to 0.3", self.gustiness)
        });
        checks.require((0.0..=45.0).contains(&self.veer_deg), "generate.veer_deg", || {
            format!("{}: 0 to 45 degrees", self.veer_deg)
        });
        checks.positive_real(self.interval_s, "generate.interval_s");
        checks.require(self.spin_up_s >= 0.0 && self.spin_up_s.is_finite(), "generate.spin_up_s", || {
            format!("{}: a time of at least 0 s", self.spin_up_s)
        });
        checks.require(self.lattice_speed > 0.0 && self.lattice_speed <= 0.15, "generate.lattice_speed", || {
            format!("{}: between 0 and 0.15, above which the lattice flow is compressible", self.lattice_speed)
        });
        checks.require((0.0..=0.5).contains(&self.smagorinsky), "generate.smagorinsky", || {
            format!("{}: between 0 (no eddy viscosity) and 0.5", self.smagorinsky)
        });
        let height_m = self.length_m / self.grid[0] as f64 * self.grid[2] as f64;
        checks.require(self.building_height_max_m < height_m, "generate.building_height_max_m", || {
            format!("{} m: below the top of the domain ({height_m} m)", self.building_height_max_m)
        });
    }
}
