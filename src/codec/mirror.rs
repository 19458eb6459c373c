//! Images that are symmetric about a point, as scattering is about its beam: half of them, and what the other half differs.
//!
//! ```text
//! center       2 varints (y, x): sum of the places of two pixels that mirror each other
//! method       u8        of the half
//! half         body of that method over the rows on the longer side of the center, the middle one included
//! residuals    see `context`; the other rows, away from the middle, relative to the mirror image as it is decoded, or
//!              to the value before where there is none; bin: |q| at the two values before in the row
//! step         f64       width of a step of these residuals
//! ```

use std::ops::Range;

use super::CodecError;
use super::bytes::{Reader, Writer};
use super::center::Center;
use super::container::Method;
use super::context::{self, ResidualReader, Residuals};
use super::field::{Cell, Field};
use super::lattice::{Lattice, Work};
use super::{interpolate, linear, lorenzo};

/// The rows `rows` of images of `shape`.
fn cut<X: Copy>(of: &[X], shape: [usize; 4], rows: &Range<usize>) -> Vec<X> {
    let nx = shape[3];
    of.chunks(shape[2] * nx).flat_map(|image| &image[rows.start * nx..rows.end * nx]).copied().collect()
}

/// Codes images (t, 1, y, x); `inner` codes the half: its method, body, and the values that the decoder will find.
pub(super) fn encode<W: Work>(
    field: &Field<W>,
    center: Center,
    inner: impl FnOnce(&Field<W>) -> (Method, Vec<u8>, Vec<W>),
) -> (Vec<u8>, Vec<W>) {
    let rows = center.half(field.shape[2]);
    let shape = [field.shape[0], 1, rows.len(), field.shape[3]];
    let targets = cut(field.targets, field.shape, &rows);
    let cells = field.cells.map(|cells| cut(cells, field.shape, &rows));
    let half = Field {
        shape,
        targets: &targets,
        cells: cells.as_deref(),
        lattice: field.lattice,
        shrink: field.shrink,
        gains: &[],
        transformed: None,
    };
    let (method, body, decoded) = inner(&half);
    let mut out = Writer::default();
    center.write(&mut out);
    out.u8(method.code());
    out.bytes.extend(body);
    let quantizer = field.lattice.quantizer();
    let mut residuals = Residuals::with_capacity(targets.len());
    let mut values = field.targets.to_vec();
    let step = |cell: Cell, (p, bin): (usize, u8), expected: f64| match cell {
        Cell::Coded => {
            let (q, value) = quantizer.nearest(expected, field.targets[p].get());
            residuals.push(q, bin);
            Some((q, value))
        }
        Cell::Filled => Some((0, field.lattice.value(expected, 0))),
        Cell::Known => None,
    };
    walk((&mut values, field.cells), (field.shape, center), &decoded, step);
    residuals.write(&mut out);
    out.f64(field.lattice.step);
    (out.bytes, values)
}

/// Puts the half into `values` and visits the other rows: `step` takes what a value is, its place and bin, and what is
/// expected; it returns the residual and the value, or nothing where the value is known.
fn walk<W: Work>(
    (values, cells): (&mut [W], Option<&[Cell]>),
    (shape, center): ([usize; 4], Center),
    half: &[W],
    mut step: impl FnMut(Cell, (usize, u8), f64) -> Option<(i32, f64)>,
) {
    let [ny, nx] = [shape[2], shape[3]];
    let rows = center.half(ny);
    let others = center.others(ny);
    for (image, half) in half.chunks(rows.len() * nx).enumerate().take(shape[0]) {
        let start = image * ny * nx;
        values[start + rows.start * nx..start + rows.end * nx].copy_from_slice(half);
        for &y in &others {
            let mut before = [0u32; 2];
            for p in y * nx..(y + 1) * nx {
                let beside = if p > y * nx {
                    p - 1
                } else if y < rows.start {
                    p + nx
                } else {
                    p - nx
                };
                let expected = values[start + center.mirror(p, [ny, nx]).unwrap_or(beside)].get();
                let bin = context::bin(128 * (before[0] + before[1]));
                let cell = cells.map_or(Cell::Coded, |cells| cells[start + p]);
                let q = step(cell, (start + p, bin), expected).map_or(0, |(q, value)| {
                    values[start + p] = W::put(value);
                    q
                });
                before = [u32::from(context::magnitude(q)), before[0]];
            }
        }
    }
}

/// Decodes images into `values`, where the cells that the mask knows hold their values on entry.
pub(super) fn decode<W: Work>(
    reader: &mut Reader,
    shape: [usize; 4],
    (values, cells): (&mut [W], Option<&[Cell]>),
    integral: bool,
) -> Result<(), CodecError> {
    if shape[1] != 1 {
        return Err(reader.out_of_range("extent along z of symmetric images", shape[1] as u64, 1));
    }
    let center = Center::read(reader, [shape[2], shape[3]])?;
    let rows = center.half(shape[2]);
    let inside = [shape[0], 1, rows.len(), shape[3]];
    let mut half = cut(values, shape, &rows);
    let half_cells = cells.map(|cells| cut(cells, shape, &rows));
    let method = reader.u8("method of the half")?;
    match Method::from_code(method) {
        Some(Method::Lorenzo) => lorenzo::decode(reader, inside, (&mut half, half_cells.as_deref()), integral)?,
        Some(Method::Interpolation) => {
            interpolate::decode(reader, inside, (&mut half, half_cells.as_deref()), integral)?;
        }
        Some(Method::Linear) => linear::decode(reader, inside, (&mut half, half_cells.as_deref()), integral)?,
        _ => return Err(reader.out_of_range("method of the half", u64::from(method), 8)),
    }
    let mut residuals = ResidualReader::new(reader)?;
    let lattice = Lattice { step: reader.f64("step")?, integral };
    let step = |cell: Cell, (_, bin): (usize, u8), expected: f64| match cell {
        Cell::Coded => {
            let q = residuals.next(bin);
            Some((q, lattice.value(expected, q)))
        }
        Cell::Filled => Some((0, lattice.value(expected, 0))),
        Cell::Known => None,
    };
    walk((values, cells), (shape, center), &half, step);
    residuals.finish(reader)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_a_center_find_each_other_and_halves_cover_all_rows() {
        let n = [7, 10];
        for center in [Center([6, 9]), Center([3, 12]), Center([9, 4]), Center([0, 0]), Center([14, 20])] {
            for p in 0..70 {
                assert!(center.mirror(p, n).is_none_or(|m| center.mirror(m, n) == Some(p)));
            }
            let mut rows: Vec<usize> = center.half(7).chain(center.others(7)).collect();
            rows.sort_unstable();
            assert_eq!(rows, (0..7).collect::<Vec<_>>(), "{center:?}");
            let half = center.half(7);
            let partner = |p: usize| center.mirror(p, n).is_none_or(|m| half.contains(&(m / 10)));
            assert!(center.others(7).into_iter().all(|y| (10 * y..10 * y + 10).all(partner)), "{center:?}");
        }
    }
}
