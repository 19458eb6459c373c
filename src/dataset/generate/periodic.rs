//! What generators without units share: fields on periodic points, numbers in multiples of the scales of the equation.

use crate::archive::{Attributes, Coordinate, ElementType, FieldSpec, FieldVariable, Values, cf_attributes};
use crate::report::figure::{Panel, Slices};

use super::Schedule;

/// Points that are computed between two looks at the signals, about a second's work.
const POINTS_BETWEEN_LOOKS: u64 = 1 << 20;

/// Least number of steps of at most `time_step` that make `interval`.
pub(super) fn steps(interval: f64, time_step: f64) -> u64 {
    // A ratio that is whole but for rounding is taken as whole.
    let ratio = interval / time_step;
    (ratio - 1e-9 * ratio.max(1.0)).ceil().max(1.0) as u64
}

/// The schedule of equal steps of at most `time_step`, and the step.
pub(super) fn schedule([interval, spin_up, time_step]: [f64; 3], points: usize) -> (Schedule, f64) {
    let between = steps(interval, time_step);
    let step = interval / between as f64;
    let pause = (POINTS_BETWEEN_LOOKS / points as u64).clamp(1, 1 << 14);
    (Schedule { spin_up: (spin_up / step).round() as u64, between, pause }, step)
}

/// The file of `variables` (name and meaning) on points `spacing` apart along z, y, x.
pub(super) fn file(
    (points, spacing): ([usize; 3], f64),
    times: Vec<f64>,
    variables: &[(&str, &str)],
    [title, source]: [&str; 2],
) -> FieldSpec {
    let axis = |name: &str, about: &str, values: Vec<f64>| {
        let mut attributes = Attributes::default();
        attributes.put_text("units", "1");
        attributes.put_text("long_name", about);
        Coordinate::new(name, values, attributes)
    };
    let space = |name: &str, n: usize| {
        let about = format!("distance along {name}, in units of the equation");
        axis(name, &about, (0..n).map(|i| i as f64 * spacing).collect())
    };
    let mut attributes = Attributes::default();
    attributes.put_text("title", title);
    attributes.put_text("source", source);
    attributes.put_text("comment", "synthetic and without units: the start is drawn from a seed");
    FieldSpec {
        coordinates: [
            axis("time", "time since the start, in units of the equation", times),
            space("z", points[0]),
            space("y", points[1]),
            space("x", points[2]),
        ],
        unlimited: true,
        variables: variables.iter().map(|(name, about)| FieldVariable::new(name, "1", about)).collect(),
        attributes: cf_attributes(&attributes),
        ..FieldSpec::default()
    }
}

/// Type of the numbers in the files.
pub(super) const ELEMENT: ElementType = ElementType::F32;

/// As they are stored.
pub(super) fn stored(values: &[f64]) -> Values {
    Values::F32(values.iter().map(|&value| value as f32).collect())
}

/// Times of the snapshots.
pub(super) fn times(schedule: &Schedule, step: f64, snapshots: usize) -> Vec<f64> {
    (1..=snapshots).map(|n| schedule.steps(n) as f64 * step).collect()
}

/// A picture of whole planes: name, values and length of a row of each, and the names of its axes.
pub(super) fn picture(caption: String, cuts: Vec<(String, Vec<f64>, usize)>, [x, y]: [&str; 2]) -> Slices {
    let panel = |(name, values, columns): (String, Vec<f64>, usize)| Panel {
        name,
        // A color bar with the unit "1" would read as a number.
        unit: String::new(),
        x_label: format!("{x} (points)"),
        y_label: format!("{y} (points)"),
        columns,
        values: values.into_iter().map(|v| Some(v as f32)).collect(),
        range: None,
        diverging: true,
    };
    Slices { title: "Generated flow".into(), caption, panels: cuts.into_iter().map(panel).collect(), per_row: None }
}
