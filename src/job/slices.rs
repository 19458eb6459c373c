//! What a reader of an archive sees: a cut through the original, what the archive gives back, and the difference.

use std::path::Path;

use crate::archive::{Archive, Box4, Source, Variable};
use crate::report::Figure;
use crate::report::figure::{Lines, Panel, Series, Slices};

use super::decompress::GroupDecoder;
use super::{Context, JobError, groups, tiling};

/// Variables that are shown, here and where rates are.
pub(super) const VARIABLES: usize = 4;
/// Points of a picture along an axis; of longer axes the middle is shown.
const POINTS: usize = 1024;

/// Two axes (or one) of a variable through its middle.
struct Cut {
    region: Box4,
    /// Axes of the picture, slow and fast; the slow one may be missing.
    axes: (Option<usize>, usize),
}

/// Both sides of a cut, physical units; `None` where masked.
struct Pair {
    original: Vec<Option<f64>>,
    restored: Vec<Option<f64>>,
}

/// Keeps a figure of the first variables of an archive that lies beside its input; `bounds`: their largest errors
/// allowed, by name. Works on rank 0, from the files alone.
pub(super) fn figures(
    ctx: &Context,
    (source, archive): (&Source, &Path),
    bounds: &[(String, f64)],
) -> Result<(), JobError> {
    if !ctx.world.is_root() {
        return Ok(());
    }
    let archive = Archive::open(archive)?;
    for (name, bound) in bounds.iter().take(VARIABLES) {
        let variable = source.variable(name)?;
        let Some(cut) = Cut::middle(variable.shape) else { continue };
        let pair = Pair::read((source, &archive), variable, &cut)?;
        let axes: Vec<String> = source.coordinates(variable)?.iter().map(|c| format!("{} (index)", c.name)).collect();
        let figure = match cut.axes {
            (Some(slow), fast) => Figure::Slices(slices(variable, &pair, (&axes[slow], &axes[fast], &cut), *bound)),
            (None, fast) => Figure::Lines(lines(variable, &pair, &axes[fast])),
        };
        let name = groups::file_name(&ctx.config.data, source, name)?;
        ctx.report.figure(&format!("32-slices-{name}"), &figure)?;
    }
    Ok(())
}

impl Cut {
    /// `None` for variables without values.
    fn middle(shape: [usize; 4]) -> Option<Self> {
        if shape.contains(&0) {
            return None;
        }
        let mut long = (0..4).rev().filter(|&axis| shape[axis] > 1);
        let fast = long.next().unwrap_or(3);
        // A series of single values, or of lines, is better seen along time than not at all.
        let slow = long.next();
        let len: [usize; 4] =
            std::array::from_fn(|a| if a == fast || Some(a) == slow { shape[a].min(POINTS) } else { 1 });
        let start = std::array::from_fn(|a| (shape[a] - len[a]) / 2);
        Some(Self { region: Box4 { start, len }, axes: (slow, fast) })
    }
}

impl Pair {
    fn read((source, archive): (&Source, &Archive), variable: &Variable, cut: &Cut) -> Result<Self, JobError> {
        let stored = source.read(variable, &cut.region)?;
        let valid = variable.valid(&stored);
        let physical = |i: usize, number: f64| {
            let counts = valid.as_ref().is_none_or(|valid| valid[i]);
            counts.then(|| variable.unpack(number))
        };
        let original: Vec<Option<f64>> =
            (0..stored.values.len()).map(|i| physical(i, stored.values.get_f64(i))).collect();
        let mut restored = vec![None; original.len()];
        for group in archive.groups() {
            let decoder = GroupDecoder::open(archive, group)?;
            let Some(v) = decoder.variables.iter().position(|found| found.name == variable.name) else { continue };
            for tile in decoder.tiles() {
                let Some(part) = tile.intersect(&cut.region) else { continue };
                let Some(values) = decoder.decode(&tile, Some(v))?.swap_remove(v) else { continue };
                for (i, p) in tiling::places(&tile, &part).zip(tiling::places(&cut.region, &part)) {
                    restored[p] = physical(p, values.get_f64(i));
                }
            }
        }
        Ok(Self { original, restored })
    }

    fn error(&self) -> Vec<Option<f64>> {
        self.original.iter().zip(&self.restored).map(|(x, y)| Some((*y)? - (*x)?)).collect()
    }
}

/// As f32; what is beyond it is drawn as its largest number.
#[allow(clippy::cast_possible_truncation)]
fn drawable(x: f64) -> f32 {
    x.clamp(-f64::from(f32::MAX), f64::from(f32::MAX)) as f32
}

fn slices(variable: &Variable, pair: &Pair, (slow, fast, cut): (&str, &str, &Cut), bound: f64) -> Slices {
    let panel = |name: &str, values: &[Option<f64>], range: Option<(f64, f64)>, diverging: bool| Panel {
        name: name.into(),
        unit: variable.units.clone(),
        x_label: fast.into(),
        y_label: slow.into(),
        columns: cut.region.len[cut.axes.1],
        values: values.iter().map(|x| x.map(drawable)).collect(),
        range: range.map(|(low, high)| (drawable(low), drawable(high))),
        diverging,
    };
    let finite = || pair.original.iter().flatten().filter(|x| x.is_finite());
    let range = (finite().fold(f64::INFINITY, |l, &x| l.min(x)), finite().fold(f64::NEG_INFINITY, |h, &x| h.max(x)));
    let range = (range.0 < range.1).then_some(range);
    let bounded = bound.is_finite() && bound > 0.0;
    let panels = vec![
        panel(&format!("{}, original", variable.name), &pair.original, range, false),
        panel("from the archive", &pair.restored, range, false),
        panel("error", &pair.error(), bounded.then_some((-bound, bound)), true),
    ];
    let colors = if bounded { " The colors of the error end at the bound." } else { "" };
    let caption = format!("A cut through the middle of the first file.{colors}");
    Slices { title: format!("{} and its reconstruction", variable.title()), caption, panels, per_row: None }
}

fn lines(variable: &Variable, pair: &Pair, axis: &str) -> Lines {
    let curve = |name: &str, values: &[Option<f64>]| {
        let points = values.iter().enumerate().filter_map(|(i, x)| Some((i as f64, (*x)?))).collect();
        Series { name: name.into(), points, markers: false }
    };
    Lines {
        title: format!("{} and its reconstruction", variable.title()),
        caption: "A cut through the middle of the first file.".into(),
        x_label: axis.into(),
        y_label: format!("{}, {}", variable.name, variable.units),
        series: vec![curve("original", &pair.original), curve("from the archive", &pair.restored)],
        ..Lines::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_goes_through_the_middle_along_the_fastest_axes_that_have_extent() {
        let at = |shape| Cut::middle(shape).map(|cut| (cut.axes, cut.region.start, cut.region.len));
        assert_eq!(at([8, 4, 5, 6]), Some(((Some(2), 3), [3, 1, 0, 0], [1, 1, 5, 6])));
        assert_eq!(at([1, 4, 1, 6]), Some(((Some(1), 3), [0, 0, 0, 0], [1, 4, 1, 6])));
        assert_eq!(at([9, 1, 1, 1]), Some(((None, 0), [0, 0, 0, 0], [9, 1, 1, 1])));
        assert_eq!(at([2, 1, 1, 4096]), Some(((Some(0), 3), [0, 0, 0, 1536], [2, 1, 1, 1024])));
        assert_eq!(at([0, 3, 3, 3]), None);
    }
}
