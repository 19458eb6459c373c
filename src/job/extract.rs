//! `extract ARCHIVE`: some variables in a box of an archive as a NetCDF file; decodes only the tiles it needs.

mod coarse;

use std::ops::Range;
use std::path::Path;

use rayon::prelude::*;

use crate::archive::{
    Archive, ArchiveError, Box4, Coordinate, FieldSpec, FieldVariable, FieldWriter, Piece, Values, Variable,
    names_of_text,
};
use crate::world::World;

use super::decompress::{GroupDecoder, tiles_at_once};
use super::{Class, JobError, tiling};
use coarse::Coarse;

/// What is asked for.
pub(super) struct Request<'a> {
    /// The archive.
    pub archive: &'a Path,
    /// Names of variables; empty: all that are coded.
    pub variables: &'a [String],
    /// Along t, z, y, x: `A:B`, either side may be missing.
    pub ranges: [Option<&'a str>; 4],
    /// Cells along z, y, x whose mean is taken.
    pub coarsen: [usize; 3],
    /// Whether damaged tiles are left out.
    pub salvage: bool,
    /// The file to write.
    pub output: &'a Path,
}

/// Writes the file.
pub(super) fn run(request: &Request) -> Result<(), JobError> {
    // 1. What is asked for, and where it is.
    if request.output.canonicalize().is_ok_and(|path| request.archive.canonicalize().is_ok_and(|own| own == path)) {
        let reason = "this is the archive itself; give another name".into();
        return Err(JobError::Argument { argument: format!("--output {}", request.output.display()), reason });
    }
    let archive = Archive::open(request.archive)?;
    let names = if request.variables.is_empty() { archive.coded_names().to_vec() } else { request.variables.to_vec() };
    if let Some(name) = names.iter().find(|name| !archive.coded_names().contains(name)) {
        let (path, available) = (request.archive.into(), archive.coded_names().to_vec());
        return Err(ArchiveError::VariableMissing { path, variable: name.clone(), available }.into());
    }
    let variables: Vec<&Variable> = names.iter().map(|n| archive.original().variable(n)).collect::<Result<_, _>>()?;
    let shape = variables[0].shape;
    if let Some(other) = variables.iter().find(|v| v.shape != shape) {
        let reason = format!("`{}` and `{}` have different shapes; extract them one by one", names[0], other.name);
        return Err(JobError::Argument { argument: "--variable".into(), reason });
    }
    let wanted = wanted(request, shape)?;
    // 2. The file: coordinates of the box, attributes of the variables as they are.
    let world = World::serial();
    let coarse = (request.coarsen != [1; 3]).then(|| Coarse::new(wanted, request.coarsen));
    let spec = spec(&archive, &variables, (&wanted, coarse.as_ref()), request.salvage)?;
    let mut out = Out { file: FieldWriter::create(&world, request.output, &spec)?, wanted, coarse };
    // 3. The tiles that it touches.
    let mut damaged = Vec::new();
    let groups: Vec<String> = archive.groups().map(String::from).collect();
    for group in &groups {
        let members = names_of_text(&archive.text(&format!("members/{group}"))?);
        if members.iter().any(|member| names.contains(member)) {
            let decoder = GroupDecoder::open(&archive, group)?;
            damaged.extend(out.take(&decoder, &names, request)?);
        }
    }
    out.finish()?;
    let (path, output) = (request.archive.into(), request.output.into());
    if damaged.is_empty() { Ok(()) } else { Err(JobError::Salvaged { path, output, damaged }) }
}

/// The file that is written.
struct Out<'w> {
    file: FieldWriter<'w>,
    wanted: Box4,
    coarse: Option<Coarse>,
}

impl Out<'_> {
    /// Writes what is asked for of a group, as many tiles at a time as there are threads; returns what is damaged.
    fn take(&mut self, decoder: &GroupDecoder, names: &[String], request: &Request) -> Result<Vec<String>, JobError> {
        let mut damaged = Vec::new();
        let of_group: Vec<(usize, &Variable)> =
            decoder.variables.iter().copied().enumerate().filter(|(_, v)| names.contains(&v.name)).collect();
        let touched = |region: Box4| Some((region, region.intersect(&self.wanted)?));
        let parts: Vec<(Box4, Box4)> = decoder.tiles().into_iter().filter_map(touched).collect();
        let (values, elements) =
            (parts.first().map_or(0, |(region, _)| region.count()), of_group.iter().map(|(_, v)| v.element));
        for round in parts.chunks(tiles_at_once(values, elements, rayon::current_num_threads())) {
            let decode = |(region, part): &(Box4, Box4)| -> Vec<Result<Values, JobError>> {
                let one = |&(v, variable): &(usize, &Variable)| {
                    let values = decoder.decode(region, Some(v))?.swap_remove(v);
                    Ok(cut(&values.ok_or_else(|| lost(request.archive, variable))?, region, part))
                };
                of_group.iter().map(one).collect()
            };
            let decoded: Vec<_> = round.par_iter().map(decode).collect();
            for ((_, part), decoded) in round.iter().zip(decoded) {
                for ((_, variable), decoded) in of_group.iter().zip(decoded) {
                    let values = match decoded {
                        Err(error) if request.salvage && error.class() == Class::Input => {
                            damaged.push(format!("`{}`, {part}: {error}", variable.name));
                            None
                        }
                        decoded => Some(decoded?),
                    };
                    self.write(variable, part, values)?;
                }
            }
        }
        Ok(damaged)
    }

    /// Writes a part of a tile, or adds it to means; `None`: it is lost.
    fn write(&mut self, variable: &Variable, part: &Box4, values: Option<Values>) -> Result<(), JobError> {
        let pieces = match &mut self.coarse {
            Some(coarse) => coarse.add(variable, part, values.as_ref()),
            None => {
                let start = std::array::from_fn(|axis| part.start[axis] - self.wanted.start[axis]);
                let values = values.unwrap_or_else(|| missing(variable, part.count()));
                vec![Piece { region: Box4 { start, len: part.len }, values }]
            }
        };
        if pieces.is_empty() { Ok(()) } else { Ok(self.file.write(&variable.name.replace('/', "_"), pieces)?) }
    }

    fn finish(mut self) -> Result<(), JobError> {
        for (name, piece) in self.coarse.into_iter().flat_map(Coarse::finish) {
            self.file.write(&name.replace('/', "_"), vec![piece])?;
        }
        self.file.finish()?;
        Ok(())
    }
}

/// The box that is asked for.
fn wanted(request: &Request, shape: [usize; 4]) -> Result<Box4, JobError> {
    let mut wanted = Box4::whole(shape);
    for (axis, (name, text)) in ["--times", "-z", "-y", "-x"].into_iter().zip(request.ranges).enumerate() {
        let range = range(name, text, shape[axis])?;
        (wanted.start[axis], wanted.len[axis]) = (range.start, range.len());
    }
    Ok(wanted)
}

/// The number that means that there is no value; without such a number NaN, the least integer, of unsigned ones the largest.
fn missing(variable: &Variable, count: usize) -> Values {
    let size = variable.element.size();
    if let Some(fill) = variable.fills.bytes().chunks(size).next() {
        let mut values = Values::zeros(variable.element, count);
        values.bytes_mut().chunks_mut(size).for_each(|number| number.copy_from_slice(fill));
        return values;
    }
    let fill = match variable.element.is_integer() {
        false => f64::NAN,
        true if variable.element.name().starts_with('u') => f64::INFINITY,
        true => f64::NEG_INFINITY,
    };
    Values::from_f64(variable.element, &vec![fill; count])
}

fn lost(path: &Path, variable: &Variable) -> JobError {
    ArchiveError::Damaged { path: path.into(), what: format!("a tile of `{}`", variable.name) }.into()
}

/// `A:B` of `len`.
fn range(name: &str, text: Option<&str>, len: usize) -> Result<Range<usize>, JobError> {
    let Some(text) = text else { return Ok(0..len) };
    let wrong = || {
        let reason = format!("expected A:B with 0 <= A < B <= {len}, for example 0:{len}");
        JobError::Argument { argument: format!("{name} {text}"), reason }
    };
    let (first, end) = text.split_once(':').ok_or_else(wrong)?;
    let bound =
        |part: &str, default: usize| if part.is_empty() { Ok(default) } else { part.parse().map_err(|_| wrong()) };
    let range = bound(first, 0)?..bound(end, len)?;
    if range.start < range.end && range.end <= len { Ok(range) } else { Err(wrong()) }
}

fn spec(
    archive: &Archive,
    variables: &[&Variable],
    (wanted, coarse): (&Box4, Option<&Coarse>),
    salvage: bool,
) -> Result<FieldSpec, JobError> {
    let mut coordinates = archive.original().coordinates(variables[0])?;
    for (axis, coordinate) in coordinates.iter_mut().enumerate() {
        coordinate.values = coordinate.values[wanted.start[axis]..wanted.end()[axis]].to_vec();
    }
    coordinates.iter_mut().for_each(|c: &mut Coordinate| c.name = c.name.replace('/', "_"));
    if let Some(coarse) = coarse {
        coarse.coarsen(&mut coordinates);
    }
    let fields = variables.iter().map(|v| {
        if let Some(coarse) = coarse {
            return coarse.variable(v, &coordinates);
        }
        let mut attributes = v.attributes.clone();
        if salvage && attributes.get("_FillValue").is_none() {
            attributes.put_numbers("_FillValue", missing(v, 1));
        }
        FieldVariable { name: v.name.replace('/', "_"), element: v.element, axes: vec![0, 1, 2, 3], attributes }
    });
    let attributes = archive.original().attributes().clone();
    let variables = fields.collect();
    Ok(FieldSpec { coordinates, unlimited: true, variables, attributes, ..FieldSpec::default() })
}

/// The numbers of `part` out of those of `whole`.
fn cut(values: &Values, whole: &Box4, part: &Box4) -> Values {
    let size = values.element().size();
    let mut out = Values::zeros(values.element(), part.count());
    for (number, i) in out.bytes_mut().chunks_mut(size).zip(tiling::places(whole, part)) {
        number.copy_from_slice(&values.bytes()[i * size..(i + 1) * size]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_takes_both_one_or_no_side() {
        let get = |text| range("-x", Some(text), 10).ok();
        assert_eq!(get("2:5"), Some(2..5));
        assert_eq!(get(":5"), Some(0..5));
        assert_eq!(get("7:"), Some(7..10));
        assert!([get("5:5"), get("0:11"), get("3"), get("a:b"), get("-1:2")].iter().all(Option::is_none));
        assert_eq!(range("-x", None, 4).ok(), Some(0..4));
    }
}
