//! What must be known of a whole variable before its first tile is coded.

use crate::archive::{Box4, Source, Variable};
use crate::world::World;

use super::JobError;

/// Range of one variable in one file, physical units; the same on every rank.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Measured {
    /// Smallest and largest finite, unmasked value; `None` without any.
    pub range: Option<(f64, f64)>,
    /// Smallest |value| above 0.
    pub least: Option<f64>,
}

impl Measured {
    /// max - min, 0 without values.
    pub fn span(&self) -> f64 {
        self.range.map_or(0.0, |(low, high)| high - low)
    }
}

/// Reads the pieces `mine` of this rank once, or what it can of them until `stopped`. Collective.
pub(super) fn measure(
    world: &World,
    (source, variable): (&Source, &Variable),
    mine: &[Box4],
    stopped: impl Fn() -> bool,
) -> Result<Measured, JobError> {
    let (mut low, mut high, mut least) = (f64::INFINITY, f64::NEG_INFINITY, f64::INFINITY);
    for region in mine.iter().take_while(|_| !stopped()) {
        let stored = source.read(variable, region)?;
        let valid = variable.valid(&stored);
        for i in (0..stored.values.len()).filter(|&i| valid.as_ref().is_none_or(|valid| valid[i])) {
            let x = variable.unpack(stored.values.get_f64(i));
            (low, high) = (low.min(x), high.max(x));
            least = if x == 0.0 { least } else { least.min(x.abs()) };
        }
    }
    let mut extremes = [-low, high, -least];
    world.max(&mut extremes);
    let known = |v: f64| (v > f64::NEG_INFINITY).then_some(v);
    Ok(Measured {
        range: known(extremes[1]).map(|high| (-extremes[0] + 0.0, high + 0.0)),
        least: known(extremes[2]).map(|v| -v),
    })
}
