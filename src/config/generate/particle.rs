//! What the generator `sas` is told by name.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a particle is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Particle {
    /// A ball.
    Sphere,
    /// A ball in a shell.
    CoreShell,
    /// An ellipsoid of revolution.
    Ellipsoid,
    /// A circular cylinder.
    Cylinder,
    /// A plate without end.
    Lamella,
}

impl Particle {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Sphere, Self::CoreShell, Self::Ellipsoid, Self::Cylinder, Self::Lamella];

    /// The word of the job file.
    pub fn as_str(self) -> &'static str {
        ["sphere", "core-shell", "ellipsoid", "cylinder", "lamella"][self as usize]
    }
}
