//! Parts of the grid under bounds of their own: a tile that a region touches is coded whole within its bound too.

use crate::archive::{Box4, Source, Variable};
use crate::config::{self, Compress};

use super::super::JobError;

/// Which of the `regions` that hold for its variables a tile touches, bit by bit; reads their masks there.
pub(super) fn touched<'r>(
    source: &Source,
    regions: impl Iterator<Item = (usize, &'r config::Region)>,
    tile: &Box4,
) -> Result<u64, JobError> {
    let mut touched = 0;
    for (number, region) in regions {
        let Some(part) = whole(region).intersect(tile) else { continue };
        let inside = match &region.mask {
            Some(name) => is_set(source, source.variable(name)?, &part)?,
            None => true,
        };
        touched |= u64::from(inside) << number;
    }
    Ok(touched)
}

/// Refuses a region that the `variables` of a file do not have.
pub(in super::super) fn check(
    (number, region): (usize, &config::Region),
    source: &Source,
    variables: &[&Variable],
) -> Result<(), JobError> {
    for variable in variables.iter().filter(|v| region.is_for(&v.name)) {
        let refuse = |key: &str, reason: String| {
            let reason = format!("{}: {reason}; `variables` says which it is for", source.path().display());
            Err(JobError::Argument { argument: format!("compress.regions[{number}].{key}"), reason })
        };
        for (axis, (key, range)) in region.ranges().into_iter().enumerate() {
            let cells = variable.shape[1 + axis];
            if let Some([first, end]) = range.filter(|[_, end]| *end > cells) {
                return refuse(key, format!("{first} to {end}, but `{}` has {cells} cells there", variable.name));
            }
        }
        let Some(name) = &region.mask else { continue };
        let mask = source.variable(name)?;
        if (0..4).any(|axis| mask.shape[axis] != 1 && (axis == 0 || mask.shape[axis] != variable.shape[axis])) {
            let ([t, z, y, x], [_, nz, ny, nx]) = (mask.shape, variable.shape);
            let step = format!("a step of `{}` {nz} x {ny} x {nx}", variable.name);
            return refuse("mask", format!("`{name}` is {t} x {z} x {y} x {x} (t, z, y, x), {step}"));
        }
    }
    Ok(())
}

/// The box of a region, at every step.
fn whole(region: &config::Region) -> Box4 {
    let mut whole = Box4::whole([usize::MAX; 4]);
    for (axis, (_, range)) in region.ranges().into_iter().enumerate() {
        if let Some([first, end]) = range {
            (whole.start[1 + axis], whole.len[1 + axis]) = (first, end - first);
        }
    }
    whole
}

/// Whether a mask is set, neither 0 nor missing, in any cell of a box; an axis that it does not have goes through.
fn is_set(source: &Source, mask: &Variable, part: &Box4) -> Result<bool, JobError> {
    let of = |axis: usize| if mask.shape[axis] == 1 { (0, 1) } else { (part.start[axis], part.len[axis]) };
    let region = Box4 { start: std::array::from_fn(|a| of(a).0), len: std::array::from_fn(|a| of(a).1) };
    let stored = source.read(mask, &region)?;
    let valid = mask.valid(&stored);
    // Of packed numbers 0 may come back as nearly 0.
    let least = mask.packing.map_or(0.0, |packing| 0.5 * packing.scale.abs());
    let physical = |i: usize| mask.unpack(stored.values.get_f64(i)).abs();
    let set = |i: usize| valid.as_ref().is_none_or(|valid| valid[i]) && physical(i) > least;
    Ok((0..stored.values.len()).any(set))
}

/// The regions that hold for a variable, with their numbers.
pub(super) fn of<'s>(section: &'s Compress, variable: &'s str) -> impl Iterator<Item = (usize, &'s config::Region)> {
    section.regions.iter().enumerate().filter(|(_, region)| region.is_for(variable))
}
