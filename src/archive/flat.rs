//! Files of a single array: IDX, which says what it holds, and raw numbers, which the job file describes.
//!
//! IDX (LeCun, Cortes, Burges: The MNIST database of handwritten digits): bytes 0, 0, type, number of dimensions; a
//! big-endian u32 per dimension, the slowest first; then the numbers, big-endian. The first dimension counts samples.
//! Raw files hold the numbers alone. Lengths are compared with that of the file before anything is read.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::attributes::Attributes;
use super::axes::Dimension;
use super::contents::{Contents, Header};
use super::h5::Slab;
use super::source::Format;
use super::{ArchiveError, ElementType, Values, Variable};
use crate::config::{ByteOrder, Number, Raw};

/// Name of the variable of an IDX file, which has none.
const IDX_VARIABLE: &str = "values";

/// Types of IDX and their codes.
const IDX_TYPES: [(u8, ElementType); 6] = [
    (0x08, ElementType::U8),
    (0x09, ElementType::I8),
    (0x0B, ElementType::I16),
    (0x0C, ElementType::I32),
    (0x0D, ElementType::F32),
    (0x0E, ElementType::F64),
];

/// How the array of a file lies.
#[derive(Debug, Clone, PartialEq)]
struct Form {
    element: ElementType,
    order: ByteOrder,
    /// Bytes before the first number.
    header: u64,
    /// Extents in the file, slowest first.
    shape: Vec<usize>,
}

/// An open file of a single array. Ranks and threads may read and write it at the same time.
#[derive(Debug)]
pub(crate) struct FlatFile {
    file: File,
    form: Form,
}

/// Whether a file that begins with these bytes is IDX.
pub(crate) fn is_idx(magic: [u8; 4]) -> bool {
    magic[..2] == [0, 0] && IDX_TYPES.iter().any(|(code, _)| *code == magic[2]) && magic[3] > 0
}

impl FlatFile {
    /// Opens an IDX file whose first four bytes are known to be right.
    pub(crate) fn open_idx(path: &Path) -> Result<(Self, Contents), ArchiveError> {
        let unreadable = |e: io::Error| ArchiveError::unreadable(path, e);
        let mut file = File::open(path).map_err(unreadable)?;
        let found = file.metadata().map_err(unreadable)?.len();
        let mut magic = [0u8; 4];
        file.read_exact(&mut magic).map_err(unreadable)?;
        let rank = usize::from(magic[3]);
        let header = 4 + 4 * rank as u64;
        let wrong = |expected: String| ArchiveError::FileLength { path: path.into(), found, expected };
        let mut sizes = vec![0u8; 4 * rank];
        file.read_exact(&mut sizes)
            .map_err(|_| wrong(format!("{header} or more of a header for {rank} dimensions")))?;
        let size = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().expect("four bytes"));
        let shape: Vec<u32> = sizes.chunks_exact(4).map(size).collect();
        let element = IDX_TYPES.iter().find(|(code, _)| *code == magic[2]).expect("checked by the caller").1;
        let numbers = shape.iter().try_fold(element.size() as u64, |n, &extent| n.checked_mul(u64::from(extent)));
        let expected = numbers.and_then(|n| n.checked_add(header));
        if expected != Some(found) {
            let bytes = expected.map_or("more bytes than there are".into(), |n| n.to_string());
            return Err(wrong(format!("{bytes}, a header of {header} and {element} numbers of shape {shape:?}")));
        }
        let shape = shape.iter().map(|&n| usize::try_from(n).expect("32-bit numbers fit")).collect();
        let form = Form { element, order: ByteOrder::Big, header, shape };
        let contents = form.contents(IDX_VARIABLE, "");
        Ok((Self { file, form }, contents))
    }

    /// Opens a file of bare numbers.
    pub(crate) fn open_raw(path: &Path, raw: &Raw) -> Result<(Self, Contents), ArchiveError> {
        let unreadable = |e: io::Error| ArchiveError::unreadable(path, e);
        let file = File::open(path).map_err(unreadable)?;
        let found = file.metadata().map_err(unreadable)?.len();
        let (grid, element) = (raw.grid(), element_of(raw.number));
        let step = (grid.iter().product::<usize>() * element.size()) as u64; // checked in `config/raw`
        let held = usize::try_from(found / step).expect("64-bit address space");
        let steps = raw.steps().unwrap_or(held);
        let of_step = format!("{step} bytes per step of {element} {grid:?}, see data.raw");
        if steps == 0 || steps as u64 * step != found {
            let expected = match raw.steps() {
                Some(steps) => format!("{}, {steps} times the {of_step}", steps as u64 * step),
                None => format!("a multiple of the {of_step}"),
            };
            return Err(ArchiveError::FileLength { path: path.into(), found, expected });
        }
        let form = Form { element, order: raw.order, header: 0, shape: [&[steps][..], &grid].concat() };
        let contents = form.contents(&raw.variable, &raw.units);
        Ok((Self { file, form }, contents))
    }

    /// Makes the file that a coded variable is restored to: its header, and space for its numbers.
    pub(crate) fn create(path: &Path, format: Format, variable: &Variable) -> io::Result<()> {
        let form = Form::of(format, variable)?;
        let mut file = File::create(path)?;
        if format == Format::Idx {
            file.write_all(&idx_header(&form)?)?;
        }
        let numbers = form.shape.iter().try_fold(form.element.size() as u64, |n, &extent| n.checked_mul(extent as u64));
        let bytes = numbers.and_then(|n| n.checked_add(form.header)).ok_or(io::ErrorKind::FileTooLarge)?;
        file.set_len(bytes)
    }

    /// Opens what [`FlatFile::create`] made, for writing.
    pub(crate) fn open_to_write(path: &Path, format: Format, variable: &Variable) -> io::Result<Self> {
        Ok(Self { form: Form::of(format, variable)?, file: OpenOptions::new().write(true).open(path)? })
    }

    /// Reads a slab; its numbers come in this machine's byte order.
    pub(crate) fn read(&self, slab: &Slab) -> io::Result<Values> {
        let mut values = Values::zeros(self.form.element, slab.len());
        let mut rest = values.bytes_mut();
        for (at, bytes) in self.form.runs(slab) {
            let (here, later) = rest.split_at_mut(bytes);
            self.file.read_exact_at(here, at)?;
            rest = later;
        }
        self.form.swap(&mut values);
        Ok(values)
    }

    /// Writes the numbers of a slab.
    pub(crate) fn write(&self, slab: &Slab, mut values: Values) -> io::Result<()> {
        self.form.swap(&mut values);
        let mut rest = values.bytes();
        for (at, bytes) in self.form.runs(slab) {
            let (here, later) = rest.split_at(bytes);
            self.file.write_all_at(here, at)?;
            rest = later;
        }
        Ok(())
    }

    /// Flushes what this process wrote to disk.
    pub(crate) fn flush(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

impl Form {
    /// The form of the file that a variable of an archive came from.
    fn of(format: Format, variable: &Variable) -> io::Result<Self> {
        let shape: Vec<usize> = variable.dims.iter().map(|d| d.len).collect();
        let order = if format == Format::RawLittle { ByteOrder::Little } else { ByteOrder::Big };
        let header = if format == Format::Idx { 4 + 4 * shape.len() as u64 } else { 0 };
        Ok(Self { element: variable.element, order, header, shape })
    }

    /// The one variable. Dimensions have no names; the first is that of the steps.
    fn contents(&self, variable: &str, units: &str) -> Contents {
        let dim = |(index, &len): (usize, &usize)| {
            let name = index.to_string();
            Dimension { name, len, unlimited: false, axis: None }
        };
        let mut attributes = Attributes::default();
        if !units.is_empty() {
            attributes.put_text("units", units);
        }
        let header = Header {
            name: variable.into(),
            element: Some(self.element),
            type_name: self.element.to_string(),
            dims: self.shape.iter().enumerate().map(dim).collect(),
            attributes,
            linked: false,
        };
        Contents { headers: vec![header], ..Contents::default() }
    }

    /// The stretches of the file that make up a slab, in its order: first byte and number of bytes.
    fn runs(&self, slab: &Slab) -> impl Iterator<Item = (u64, usize)> {
        assert_eq!((slab.start.len(), slab.count.len()), (self.shape.len(), self.shape.len()), "slab rank");
        let (shape, size, header) = (self.shape.clone(), self.element.size(), self.header);
        let whole = (0..shape.len()).rev().take_while(|&d| slab.count[d] == shape[d]).count();
        // Of the dimensions that are not covered whole the last one still is one stretch.
        let outer = shape.len().saturating_sub(whole + 1);
        let stride = move |d: usize| shape[d + 1..].iter().product::<usize>();
        let first: usize = (outer..slab.start.len()).map(|d| slab.start[d] * stride(d)).sum();
        let bytes = slab.count[outer..].iter().product::<usize>() * size;
        let (start, count) = (slab.start[..outer].to_vec(), slab.count[..outer].to_vec());
        let runs = if bytes == 0 { 0 } else { count.iter().product() };
        (0..runs).map(move |mut run| {
            let mut at = first;
            for d in (0..outer).rev() {
                at += (start[d] + run % count[d]) * stride(d);
                run /= count[d];
            }
            (header + (at * size) as u64, bytes)
        })
    }

    /// Between the byte order of the file and that of this machine.
    fn swap(&self, values: &mut Values) {
        let native = if cfg!(target_endian = "little") { ByteOrder::Little } else { ByteOrder::Big };
        if self.order != native && self.element.size() > 1 {
            values.bytes_mut().chunks_exact_mut(self.element.size()).for_each(<[u8]>::reverse);
        }
    }
}

/// The header of an IDX file.
fn idx_header(form: &Form) -> io::Result<Vec<u8>> {
    let cannot = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("IDX has no {what}"));
    let code = IDX_TYPES.iter().find(|(_, element)| *element == form.element);
    let rank = u8::try_from(form.shape.len()).map_err(|_| cannot("more than 255 dimensions"))?;
    let mut header = vec![0, 0, code.ok_or_else(|| cannot(form.element.name()))?.0, rank];
    for &extent in &form.shape {
        let extent = u32::try_from(extent).map_err(|_| cannot("extents of 2^32 and more"))?;
        header.extend(extent.to_be_bytes());
    }
    Ok(header)
}

fn element_of(number: Number) -> ElementType {
    match number {
        Number::I8 => ElementType::I8,
        Number::U8 => ElementType::U8,
        Number::I16 => ElementType::I16,
        Number::U16 => ElementType::U16,
        Number::I32 => ElementType::I32,
        Number::U32 => ElementType::U32,
        Number::I64 => ElementType::I64,
        Number::U64 => ElementType::U64,
        Number::F32 => ElementType::F32,
        Number::F64 => ElementType::F64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_a_slab_are_as_long_as_they_can_be_and_in_its_order() {
        let form = Form { element: ElementType::I16, order: ByteOrder::Big, header: 100, shape: vec![4, 3, 5] };
        let runs = |start: [usize; 3], count: [usize; 3]| {
            let slab = Slab { start: start.into(), count: count.into() };
            form.runs(&slab).collect::<Vec<_>>()
        };
        assert_eq!(runs([0; 3], [4, 3, 5]), [(100, 120)]);
        assert_eq!(runs([1, 0, 0], [2, 3, 5]), [(130, 60)]);
        assert_eq!(runs([1, 1, 0], [2, 2, 5]), [(140, 20), (170, 20)]);
        assert_eq!(runs([3, 0, 2], [1, 2, 3]), [(194, 6), (204, 6)]);
        assert_eq!(runs([0, 0, 0], [2, 0, 5]), []);
    }
}
