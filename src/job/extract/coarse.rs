//! Fields from afar: means over boxes of cells. A mean of values that are off by at most so much is so too.

use std::collections::BTreeMap;
use std::ops::Range;

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
    /// By variable.
    sums: BTreeMap<String, Sums>,
}

/// Sums of physical numbers over the boxes that tiles are added to.
struct Sums {
    /// The steps, counted from the first that is asked for.
    steps: Range<usize>,
    element: ElementType,
    /// By place along z: of each step, y and x the sum and the number of values.
    layers: BTreeMap<usize, (Vec<f64>, Vec<u32>)>,
}

impl Coarse {
    /// Means over `cells` of what is `wanted`.
    pub fn new(wanted: Box4, cells: [usize; 3]) -> Self {
        Self { wanted, cells, sums: BTreeMap::new() }
    }

    /// Adds the stored numbers of a part of a tile, if it has any. Parts come by their steps, those of the same steps along
    /// z: returns the means that are complete.
    pub fn add(&mut self, variable: &Variable, part: &Box4, values: Option<&Values>) -> Vec<Piece> {
        let start: [usize; 4] = std::array::from_fn(|axis| part.start[axis] - self.wanted.start[axis]);
        let [cz, cy, cx] = self.cells;
        let plane = self.plane();
        let steps = start[0]..start[0] + part.len[0];
        let new = || Sums { steps: steps.clone(), element: element(variable), layers: BTreeMap::new() };
        let of_variable = self.sums.entry(variable.name.clone()).or_insert_with(new);
        let mut complete = Vec::new();
        if of_variable.steps != steps {
            complete = std::mem::replace(of_variable, new()).means(usize::MAX, plane);
        }
        complete.extend(of_variable.means(start[1] / cz, plane));
        let valid = values.map(|values| variable.valid_numbers(values));
        let n = part.len[0] * plane[0] * plane[1];
        for row in 0..part.len[..3].iter().product() {
            let [t, z, y] = [row / part.len[2] / part.len[1], row / part.len[2] % part.len[1], row % part.len[2]];
            let layer = of_variable.layers.entry((start[1] + z) / cz).or_insert_with(|| (vec![0.0; n], vec![0; n]));
            let Some((values, valid)) = values.zip(valid.as_ref()) else { continue };
            let first = (t * plane[0] + (start[2] + y) / cy) * plane[1];
            for x in 0..part.len[3] {
                let (i, cell) = (row * part.len[3] + x, first + (start[3] + x) / cx);
                if valid[i] {
                    layer.0[cell] += variable.unpack(values.get_f64(i));
                    layer.1[cell] += 1;
                }
            }
        }
        complete
    }

    /// The means that are left, by variable.
    pub fn finish(self) -> impl Iterator<Item = (String, Piece)> {
        let plane = self.plane();
        self.sums.into_iter().flat_map(move |(name, mut sums)| {
            sums.means(usize::MAX, plane).into_iter().map(move |piece| (name.clone(), piece))
        })
    }

    /// Boxes along y and x.
    fn plane(&self) -> [usize; 2] {
        std::array::from_fn(|a| self.wanted.len[2 + a].div_ceil(self.cells[1 + a]))
    }

    /// Coordinates of the boxes: the mean of those of their cells.
    pub fn coarsen(&self, coordinates: &mut [Coordinate]) {
        for (coordinate, cells) in coordinates.iter_mut().skip(1).zip(self.cells).filter(|(_, cells)| *cells > 1) {
            let mean = |box_: &[f64]| box_.iter().sum::<f64>() / box_.len() as f64;
            coordinate.values = coordinate.values.chunks(cells).map(mean).collect();
            coordinate.element = ElementType::F64;
            coordinate.attributes = without(&coordinate.attributes);
        }
    }

    /// The variable that holds the means: physical numbers, NaN where a box has no value.
    pub fn variable(&self, of: &Variable, coordinates: &[Coordinate]) -> FieldVariable {
        let element = element(of);
        let mut attributes = without(&of.attributes);
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
    /// The means of the layers before `end`, which are let go.
    fn means(&mut self, end: usize, [h, w]: [usize; 2]) -> Vec<Piece> {
        let rest = self.layers.split_off(&end);
        let complete = std::mem::replace(&mut self.layers, rest);
        let mean = |(&sum, &count): (&f64, &u32)| if count > 0 { sum / f64::from(count) } else { f64::NAN };
        let piece = |(z, (sums, counts)): (usize, (Vec<f64>, Vec<u32>))| {
            let means: Vec<f64> = sums.iter().zip(&counts).map(mean).collect();
            let region = Box4 { start: [self.steps.start, z, 0, 0], len: [self.steps.len(), 1, h, w] };
            Piece { region, values: Values::from_f64(self.element, &means) }
        };
        complete.into_iter().map(piece).collect()
    }
}

/// The type of means: floats stay, integers and packed numbers become the float that holds them.
fn element(variable: &Variable) -> ElementType {
    let wide = variable.element.size() > if variable.element.is_integer() { 2 } else { 4 };
    if wide || variable.packing.is_some() { ElementType::F64 } else { ElementType::F32 }
}

/// Attributes without those of [`OF_STORED`].
fn without(attributes: &Attributes) -> Attributes {
    Attributes(attributes.0.iter().filter(|(name, _)| !OF_STORED.contains(&name.as_str())).cloned().collect())
}
