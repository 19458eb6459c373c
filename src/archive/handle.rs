//! Opens a file with the library that reads it best, or without one.

use std::io::Read;
use std::path::Path;

use super::contents::Contents;
use super::flat::{self, FlatFile};
use super::nc::{NcFile, NcKind, NcResult};
use super::source::{Format, Reading};
use super::survey::{Defect, Survey};
use super::{ArchiveError, classic};
use crate::config::ByteOrder;

/// An open file.
#[derive(Debug)]
pub(crate) enum Handle {
    Netcdf(NcFile),
    Hdf5(hdf5::File),
    /// A single array, and what it is called.
    Flat(FlatFile, Contents),
}

/// A file opened for the first time.
pub(crate) struct Opened {
    pub(crate) handle: Handle,
    pub(crate) format: Format,
    /// HDF5 and NetCDF-4 only.
    pub(crate) defects: Vec<Defect>,
}

/// Finds the format of a file and opens it.
pub(crate) fn open(path: &Path, reading: &Reading) -> Result<Opened, ArchiveError> {
    let magic = first_bytes(path)?;
    let of_flat =
        |format, (file, contents)| Opened { handle: Handle::Flat(file, contents), format, defects: Vec::new() };
    match &reading.raw {
        Some(raw) => {
            let format = if raw.order == ByteOrder::Big { Format::RawBig } else { Format::RawLittle };
            Ok(of_flat(format, FlatFile::open_raw(path, raw)?))
        }
        None if flat::is_idx(magic) => Ok(of_flat(Format::Idx, FlatFile::open_idx(path)?)),
        None => open_with_library(path, magic.starts_with(b"CDF")),
    }
}

fn open_with_library(path: &Path, classic: bool) -> Result<Opened, ArchiveError> {
    let unreadable = |reason: &dyn ToString| ArchiveError::unreadable(path, reason.to_string());
    if classic {
        check_length(path)?;
        let file = NcFile::open(path, false).map_err(|e| unreadable(&e))?;
        let format = classic_format(&file).map_err(|e| unreadable(&e))?;
        return Ok(Opened { handle: Handle::Netcdf(file), format, defects: Vec::new() });
    }
    let survey = hdf5::File::open(path).and_then(|file| Survey::of(&file)).map_err(|e| unreadable(&e))?;
    let netcdf = if survey.is_netcdf4() { NcFile::open(path, false).ok() } else { None };
    let (handle, format) = match netcdf {
        Some(netcdf) => (Handle::Netcdf(netcdf), Format::Netcdf4),
        None => (open_known(path, Format::Hdf5)?, Format::Hdf5),
    };
    Ok(Opened { handle, format, defects: survey.defects })
}

/// Opens a file again, or one whose format is written down elsewhere: for NetCDF, the library that wrote it.
/// Originals without a library lie in HDF5 archives.
pub(crate) fn open_known(path: &Path, format: Format) -> Result<Handle, ArchiveError> {
    match format {
        Format::Hdf5 | Format::Idx | Format::RawLittle | Format::RawBig => {
            hdf5::File::open(path).map(Handle::Hdf5).map_err(|e| ArchiveError::unreadable(path, e))
        }
        _ => NcFile::open(path, false).map(Handle::Netcdf).map_err(|e| ArchiveError::unreadable(path, e)),
    }
}

/// The first bytes of a file; zeros behind its end.
fn first_bytes(path: &Path) -> Result<[u8; 4], ArchiveError> {
    let mut magic = Vec::new();
    match open_file(path).and_then(|file| file.take(4).read_to_end(&mut magic)) {
        Ok(0) => Err(ArchiveError::unreadable(path, "the file is empty")),
        Ok(_) => Ok(std::array::from_fn(|i| magic.get(i).copied().unwrap_or(0))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(ArchiveError::FileMissing { path: path.into() }),
        Err(e) => Err(ArchiveError::unreadable(path, e)),
    }
}

/// Opens a file to read; a pipe would wait for somebody to write to it.
pub(crate) fn open_file(path: &Path) -> std::io::Result<std::fs::File> {
    match std::fs::metadata(path)?.is_file() {
        true => std::fs::File::open(path),
        false => Err(std::io::Error::other("it is no file but a pipe, a socket or a device")),
    }
}

/// Refuses a classic file that is shorter than its header says.
fn check_length(path: &Path) -> Result<(), ArchiveError> {
    let lengths = || Ok((std::fs::metadata(path)?.len(), classic::bytes_expected(path)?));
    match lengths().map_err(|e: std::io::Error| ArchiveError::unreadable(path, e))? {
        (bytes, Some(expected)) if expected > bytes => {
            let reason = format!("the file has {bytes} bytes where its header asks for {expected}");
            Err(ArchiveError::unreadable(path, reason))
        }
        _ => Ok(()),
    }
}

fn classic_format(file: &NcFile) -> NcResult<Format> {
    Ok(match file.kind()? {
        NcKind::Offset64 => Format::Netcdf3Offset64,
        NcKind::Data64 => Format::Netcdf3Data64,
        NcKind::Classic | NcKind::Netcdf4 | NcKind::Netcdf4Classic => Format::Netcdf3,
    })
}
