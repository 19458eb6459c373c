//! Figures as data: what a stage hands over, independent of how it is drawn.

use serde::{Deserialize, Serialize, Serializer};

/// One figure of the report.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// Curves over a common axis.
    Lines(Lines),
    /// Two-dimensional cuts through fields, side by side.
    Slices(Slices),
    /// A table.
    Table(Table),
}

/// Curves over a common axis; labels carry units.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Lines {
    /// Heading, and one sentence on what to see.
    pub title: String,
    /// Sentence under the figure.
    pub caption: String,
    /// Name and unit of the horizontal axis.
    pub x_label: String,
    /// Name and unit of the vertical axis.
    pub y_label: String,
    /// Logarithmic horizontal axis; values that are not positive are left out.
    pub x_log: bool,
    /// Logarithmic vertical axis; values that are not positive are left out.
    pub y_log: bool,
    /// Name and points of each curve.
    pub series: Vec<Series>,
}

/// One curve.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Series {
    /// Name in the legend.
    pub name: String,
    /// Points (x, y); those that are not finite are left out.
    #[serde(serialize_with = "finite")]
    pub points: Vec<(f64, f64)>,
    /// Draw markers only, no line.
    pub markers: bool,
}

fn finite<S: Serializer>(points: &[(f64, f64)], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(points.iter().filter(|(x, y)| x.is_finite() && y.is_finite()))
}

/// Cuts through fields in rows of panels; each panel has its own color bar.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Slices {
    /// Heading.
    pub title: String,
    /// Sentence under the figure.
    pub caption: String,
    /// The panels, from left to right.
    pub panels: Vec<Panel>,
    /// Panels of a row; as many as the page has room for, if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_row: Option<usize>,
}

/// One cut, `rows x columns`, row 0 at the bottom.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Panel {
    /// Name over the panel.
    pub name: String,
    /// Unit of the values, at the color bar.
    pub unit: String,
    /// Name and unit of the horizontal axis.
    pub x_label: String,
    /// Name and unit of the vertical axis.
    pub y_label: String,
    /// Points along the horizontal axis.
    pub columns: usize,
    /// Row-major values; `None` where masked.
    pub values: Vec<Option<f32>>,
    /// Colors run from the first to the second value; `None`: over the values.
    pub range: Option<(f32, f32)>,
    /// Diverging colors around zero (errors, increments) instead of sequential ones.
    pub diverging: bool,
}

/// A table of text cells.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Table {
    /// Heading.
    pub title: String,
    /// Sentence under the table.
    pub caption: String,
    /// Column heads, with units.
    pub columns: Vec<String>,
    /// Cells by row.
    pub rows: Vec<Vec<String>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_that_are_not_finite_are_left_out_of_the_file() {
        let points = vec![(1.0, 2.0), (2.0, f64::NAN), (f64::INFINITY, 1.0)];
        let figure = Figure::Lines(Lines { series: vec![Series { points, ..Series::default() }], ..Lines::default() });
        let back: Figure = serde_json::from_str(&serde_json::to_string(&figure).unwrap()).unwrap();
        let Figure::Lines(lines) = back else { unreachable!() };
        assert_eq!(lines.series[0].points, [(1.0, 2.0)]);
    }
}
