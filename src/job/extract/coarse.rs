//! Fields from afar: means over boxes of cells. A mean of values that are within a bound is within it too.

use std::collections::BTreeMap;

use crate::archive::{
    AttributeValue, Attributes, Box4, Coordinate, ElementType, FieldVariable, Piece, Values, Variable,
};

/// What would be wrong of means: packing, and numbers of the stored type.
const OF_STORED: [&str; 8] =
    ["_FillValue", "_Unsigned", "add_offset", "missing_value", "scale_factor", "valid_max", "valid_min", "valid_range"];

/// Means of variables over boxes of cells; the last of an axis may have fewer.
pub(super) struct Coarse {
    /// What of the archive is asked for.
    wanted: Box4,
    /// Cells of a box along z, y, x.
    cells: [usize; 3],
    /// Of the steps that tiles are added to, by variable.
    sums: BTreeMap<String, Sums>,
}

/// Sums of physical numbers over some steps.
struct Sums {
    /// The steps, counted from the first that is asked for, and the boxes.
    region: Box4,
    element: ElementType,
    sums: Vec<f64>,
    counts: Vec<u32>,
}

impl Coarse {
    /// Means over `cells` of what is `wanted`.
    pub fn new(wanted: Box4, cells: [usize; 3]) -> Self {
        Self { wanted, cells, sums: BTreeMap::new() }
    }

    /// Adds the stored numbers of a part of a tile, if it has any. Parts come by their steps: returns the means of those
    /// before.
    pub fn add(&mut self, variable: &Variable, part: &Box4, values: Option<&Values>) -> Option<Piece> {
        let start: [usize; 4] = std::array::from_fn(|axis| part.start[axis] - self.wanted.start[axis]);
        let [cz, cy, cx] = self.cells;
        let [d, h, w] = std::array::from_fn(|a| self.wanted.len[1 + a].div_ceil(self.cells[a]));
        let region = Box4 { start: [start[0], 0, 0, 0], len: [part.len[0], d, h, w] };
        let new = || {
            let (sums, counts) = (vec![0.0; region.count()], vec![0; region.count()]);
            Sums { region, element: element(variable), sums, counts }
        };
        let of_variable = self.sums.entry(variable.name.clone()).or_insert_with(new);
        let before = if of_variable.region == region { None } else { Some(std::mem::replace(of_variable, new())) };
        let Some(values) = values else { return before.map(Sums::means) };
        let valid = variable.valid_numbers(values);
        let mut i = 0;
        for row in 0..part.len[..3].iter().product() {
            let [t, z, y] = [row / part.len[2] / part.len[1], row / part.len[2] % part.len[1], row % part.len[2]];
            let first = ((t * d + (start[1] + z) / cz) * h + (start[2] + y) / cy) * w;
            for x in start[3]..start[3] + part.len[3] {
                if valid[i] {
                    of_variable.sums[first + x / cx] += variable.unpack(values.get_f64(i));
                    of_variable.counts[first + x / cx] += 1;
                }
                i += 1;
            }
        }
        before.map(Sums::means)
    }

    /// The means of the last steps, by variable.
    pub fn finish(self) -> impl Iterator<Item = (String, Piece)> {
        self.sums.into_iter().map(|(name, sums)| (name, sums.means()))
    }

    /// Coordinates of the boxes: the mean of those of their cells.
    pub fn coarsen(&self, coordinates: &mut [Coordinate]) {
        for (coordinate, cells) in coordinates.iter_mut().skip(1).zip(self.cells).filter(|(_, cells)| *cells > 1) {
            let mean = |box_: &[f64]| box_.iter().sum::<f64>() / box_.len() as f64;
            coordinate.values = coordinate.values.chunks(cells).map(mean).collect();
            coordinate.element = ElementType::F64;
        }
    }

    /// The variable that holds the means: physical numbers, NaN where a box has no value.
    pub fn variable(&self, of: &Variable, coordinates: &[Coordinate]) -> FieldVariable {
        let element = element(of);
        let mut attributes = Attributes::default();
        for (name, value) in of.attributes.0.iter().filter(|(name, _)| !OF_STORED.contains(&name.as_str())) {
            attributes.put(name, value.clone());
        }
        attributes.put_numbers("_FillValue", Values::from_f64(element, &[f64::NAN]));
        let axes = (0..3).filter(|&a| self.cells[a] > 1 && self.wanted.len[1 + a] > 1);
        let axes: Vec<String> = axes.map(|a| format!("{}:", coordinates[1 + a].name)).collect();
        if !axes.is_empty() {
            let before = match attributes.get("cell_methods") {
                Some(AttributeValue::Text(text)) => format!("{text} "),
                _ => String::new(),
            };
            attributes.put_text("cell_methods", format!("{before}{} mean", axes.join(" ")));
        }
        FieldVariable { name: of.name.replace('/', "_"), element, axes: vec![0, 1, 2, 3], attributes }
    }
}

impl Sums {
    fn means(self) -> Piece {
        let mean = |(&sum, &count): (&f64, &u32)| if count > 0 { sum / f64::from(count) } else { f64::NAN };
        let means: Vec<f64> = self.sums.iter().zip(&self.counts).map(mean).collect();
        Piece { region: self.region, values: Values::from_f64(self.element, &means) }
    }
}

/// The type of means: floats stay, integers become the float that holds them.
fn element(variable: &Variable) -> ElementType {
    match variable.element {
        ElementType::F64 => ElementType::F64,
        element if element.is_integer() && element.size() > 2 => ElementType::F64,
        _ => ElementType::F32,
    }
}
