//! Which dimension is time, and which are z, y, x (CF conventions 1.11, section 4).
//!
//! A dimension's direction comes from, in this order: its coordinate's `axis` attribute, `standard_name`, `units` and
//! `positive`, then its name. A variable's time axis is the one `data.sample.axis` names, else its T dimension, else
//! its first unlimited one, else (in a file without any of these) its first dimension if nothing is known about it.
//! The others become z, y, x by direction if all are known and different; otherwise they keep their file order and
//! the last is x. Extents of more than four dimensions: those of length 1 are dropped, then leading ones are folded
//! into time (time innermost).

use super::attributes::{Attributes, Axis};

/// One dimension of a variable.
#[derive(Debug, Clone, PartialEq)]
pub struct Dimension {
    /// Full name inside the file (`time`, `group/time`); the index for files without names.
    pub name: String,
    /// Extent.
    pub len: usize,
    /// Whether it can grow.
    pub unlimited: bool,
    /// Direction, if known.
    pub axis: Option<Axis>,
}

/// Where the dimensions of a variable go in canonical `(t, z, y, x)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    /// File dimensions that make up canonical axis 0, outermost first; the last is time if `has_time`.
    pub(crate) time: Vec<usize>,
    /// File dimension of z, y and x.
    pub(crate) space: [Option<usize>; 3],
    /// Whether there is a time axis.
    pub(crate) has_time: bool,
}

impl Layout {
    /// Canonical shape.
    pub(crate) fn shape(&self, dims: &[Dimension]) -> [usize; 4] {
        let extent = |d: Option<usize>| d.map_or(1, |d| dims[d].len);
        let [z, y, x] = self.space;
        [product(self.time.iter().map(|&d| dims[d].len)), extent(z), extent(y), extent(x)]
    }
}

/// Product of extents: 0 where one is, however large the others are, and no more than fits.
pub(crate) fn product(mut extents: impl Iterator<Item = usize>) -> usize {
    let all = extents.try_fold(1, |all: usize, extent| (extent > 0).then(|| all.saturating_mul(extent)));
    all.unwrap_or(0)
}

/// Lays out a variable. `axis` is `data.sample.axis` (a name or an index), `file_has_time` whether any variable of the
/// file has a T or unlimited dimension.
pub(crate) fn layout(dims: &[Dimension], axis: Option<&str>, file_has_time: bool) -> Layout {
    let time = match axis {
        Some(axis) => dims.iter().enumerate().position(|(index, dim)| names(dim, index, axis)),
        None => default_time(dims, file_has_time),
    };
    let mut rest: Vec<usize> = (0..dims.len()).filter(|&d| Some(d) != time).collect();
    while rest.len() > 3
        && let Some(single) = rest.iter().position(|&d| dims[d].len == 1)
    {
        rest.remove(single);
    }
    let extra = rest.len().saturating_sub(3);
    let space = spatial(dims, &rest[extra..]);
    Layout { time: rest[..extra].iter().copied().chain(time).collect(), space, has_time: time.is_some() }
}

/// Whether `data.sample.axis: axis` means this dimension.
pub(crate) fn names(dim: &Dimension, index: usize, axis: &str) -> bool {
    dim.name == axis || leaf(&dim.name) == axis || axis.parse() == Ok(index)
}

fn default_time(dims: &[Dimension], file_has_time: bool) -> Option<usize> {
    let by_direction = dims.iter().position(|d| d.axis == Some(Axis::T));
    let unknown_first = || (!file_has_time && dims.first().is_some_and(|d| d.axis.is_none())).then_some(0);
    by_direction.or_else(|| dims.iter().position(|d| d.unlimited)).or_else(unknown_first)
}

fn spatial(dims: &[Dimension], rest: &[usize]) -> [Option<usize>; 3] {
    let mut by_direction = [None; 3];
    for &d in rest {
        let slot = match dims[d].axis {
            Some(Axis::Z) => 0,
            Some(Axis::Y) => 1,
            Some(Axis::X) => 2,
            _ => return by_order(rest),
        };
        if by_direction[slot].replace(d).is_some() {
            return by_order(rest);
        }
    }
    by_direction
}

fn by_order(rest: &[usize]) -> [Option<usize>; 3] {
    let mut slots = [None; 3];
    for (slot, &d) in slots.iter_mut().rev().zip(rest.iter().rev()) {
        *slot = Some(d);
    }
    slots
}

/// Last part of a path inside a file.
pub(crate) fn leaf(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// Direction of a dimension from its name and its coordinate variable's attributes.
pub(crate) fn direction(name: &str, coordinate: Option<&Attributes>) -> Option<Axis> {
    coordinate.and_then(direction_of_coordinate).or_else(|| direction_of_name(leaf(name)))
}

/// Direction told by the attributes of a coordinate.
pub(crate) fn direction_of_coordinate(attributes: &Attributes) -> Option<Axis> {
    match attributes.text("axis").unwrap_or_default().trim() {
        "T" | "t" => return Some(Axis::T),
        "Z" | "z" => return Some(Axis::Z),
        "Y" | "y" => return Some(Axis::Y),
        "X" | "x" => return Some(Axis::X),
        _ => {}
    }
    match attributes.text("standard_name").unwrap_or_default().trim() {
        "time" => return Some(Axis::T),
        "latitude" | "grid_latitude" | "projection_y_coordinate" => return Some(Axis::Y),
        "longitude" | "grid_longitude" | "projection_x_coordinate" => return Some(Axis::X),
        "height" | "altitude" | "depth" | "air_pressure" | "model_level_number" => return Some(Axis::Z),
        name if name.starts_with("atmosphere_") || name.starts_with("ocean_") => return Some(Axis::Z),
        _ => {}
    }
    let units = attributes.text("units").unwrap_or_default().trim();
    if is_time_unit(units) {
        return Some(Axis::T);
    }
    match units {
        "degrees_north" | "degree_north" | "degrees_N" | "degree_N" | "degreesN" | "degreeN" => Some(Axis::Y),
        "degrees_east" | "degree_east" | "degrees_E" | "degree_E" | "degreesE" | "degreeE" => Some(Axis::X),
        _ => attributes.text("positive").map(|_| Axis::Z),
    }
}

/// Whether units are "<unit> since <date>".
pub(crate) fn is_time_unit(units: &str) -> bool {
    units.contains(" since ")
}

fn direction_of_name(name: &str) -> Option<Axis> {
    let name = name.to_ascii_lowercase();
    // x, xt, xm, x_c, nx, ...: one letter with at most two letters of staggering around it.
    let short = |letter: char| name.len() <= 3 && (name.starts_with(letter) || name == format!("n{letter}"));
    let starts = |prefixes: &[&str]| prefixes.iter().any(|p| name.starts_with(p));
    if starts(&["time"]) || matches!(name.as_str(), "t" | "nt" | "date") {
        Some(Axis::T)
    } else if short('x') || starts(&["lon", "rlon", "west_east"]) {
        Some(Axis::X)
    } else if short('y') || starts(&["lat", "rlat", "south_north"]) {
        Some(Axis::Y)
    } else if short('z') || starts(&["lev", "plev", "depth", "height", "alt", "bottom_top", "model_level", "layer"]) {
        Some(Axis::Z)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dims(list: &[(&str, usize)]) -> Vec<Dimension> {
        let dim = |&(name, len): &(&str, usize)| {
            let unlimited = name.ends_with('*');
            let name = name.trim_end_matches('*');
            Dimension { name: name.into(), len, unlimited, axis: direction(name, None) }
        };
        list.iter().map(dim).collect()
    }

    fn shape(list: &[(&str, usize)], axis: Option<&str>, file_has_time: bool) -> ([usize; 4], bool) {
        let dims = dims(list);
        let layout = layout(&dims, axis, file_has_time);
        (layout.shape(&dims), layout.has_time)
    }

    #[test]
    fn layout_of_any_dimension_order_is_canonical() {
        assert_eq!(shape(&[("time", 9), ("z", 3), ("y", 4), ("x", 5)], None, true), ([9, 3, 4, 5], true));
        assert_eq!(shape(&[("x", 5), ("y", 4), ("z", 3), ("time", 9)], None, true), ([9, 3, 4, 5], true));
        assert_eq!(shape(&[("a", 5), ("time", 9), ("b", 4)], None, true), ([9, 1, 5, 4], true));
        assert_eq!(shape(&[("lat", 5), ("lon", 6)], None, true), ([1, 1, 5, 6], false));
        assert_eq!(shape(&[("depth", 5), ("lon", 6)], None, true), ([1, 5, 1, 6], false));
        assert_eq!(shape(&[("record*", 5), ("cell", 6)], None, true), ([5, 1, 1, 6], true));
    }

    #[test]
    fn layout_without_names_takes_the_first_dimension_as_time() {
        assert_eq!(shape(&[("0", 9), ("1", 4), ("2", 5)], None, false), ([9, 1, 4, 5], true));
        assert_eq!(shape(&[("0", 9), ("1", 4), ("2", 5)], Some("2"), false), ([5, 1, 9, 4], true));
        assert_eq!(shape(&[("z", 9), ("y", 4), ("x", 5)], None, false), ([1, 9, 4, 5], false));
        assert_eq!(shape(&[("z", 9), ("y", 4), ("x", 5)], Some("z"), false), ([9, 1, 4, 5], true));
    }

    #[test]
    fn layout_of_more_than_four_dimensions_drops_singles_and_folds_the_rest() {
        let single = [("member", 1), ("time", 9), ("z", 3), ("y", 4), ("x", 5)];
        assert_eq!(shape(&single, None, true), ([9, 3, 4, 5], true));
        let many = [("member", 2), ("time", 9), ("z", 3), ("y", 4), ("x", 5)];
        assert_eq!(shape(&many, None, true), ([18, 3, 4, 5], true));
    }

    #[test]
    fn direction_prefers_attributes_over_names() {
        let mut attributes = Attributes::default();
        attributes.put_text("units", "hours since 1970-01-01");
        assert_eq!(direction("x", Some(&attributes)), Some(Axis::T));
        attributes.put_text("standard_name", "projection_y_coordinate");
        assert_eq!(direction("x", Some(&attributes)), Some(Axis::Y));
        attributes.put_text("axis", "Z");
        assert_eq!(direction("x", Some(&attributes)), Some(Axis::Z));
        assert_eq!(direction("surface/xt", None), Some(Axis::X));
        assert_eq!(direction("cell", None), None);
    }
}
