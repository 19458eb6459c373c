//! Opens a file with the library that reads it best.

use std::io::Read;
use std::path::Path;

use super::nc::{NcFile, NcKind, NcResult};
use super::source::Format;
use super::survey::{MissingFilter, Survey};
use super::{ArchiveError, classic};

/// An open file of one of the two libraries.
#[derive(Debug)]
pub(crate) enum Handle {
    Netcdf(NcFile),
    Hdf5(hdf5::File),
}

/// A file opened for the first time.
pub(crate) struct Opened {
    pub(crate) handle: Handle,
    pub(crate) format: Format,
    /// HDF5 and NetCDF-4 only.
    pub(crate) filters_missing: Vec<MissingFilter>,
}

/// Finds the format of a file and opens it.
pub(crate) fn open(path: &Path) -> Result<Opened, ArchiveError> {
    let unreadable = |reason: &dyn ToString| ArchiveError::unreadable(path, reason.to_string());
    if starts_like_classic(path)? {
        check_length(path)?;
        let file = NcFile::open(path, false).map_err(|e| unreadable(&e))?;
        let format = classic_format(&file).map_err(|e| unreadable(&e))?;
        return Ok(Opened { handle: Handle::Netcdf(file), format, filters_missing: Vec::new() });
    }
    let survey = hdf5::File::open(path).and_then(|file| Survey::of(&file)).map_err(|e| unreadable(&e))?;
    let netcdf = if survey.is_netcdf4() { NcFile::open(path, false).ok() } else { None };
    let (handle, format) = match netcdf {
        Some(netcdf) => (Handle::Netcdf(netcdf), Format::Netcdf4),
        None => (open_known(path, Format::Hdf5)?, Format::Hdf5),
    };
    Ok(Opened { handle, format, filters_missing: survey.filters_missing })
}

/// Opens a file again, or one whose format is written down elsewhere: for NetCDF, the library that wrote it.
pub(crate) fn open_known(path: &Path, format: Format) -> Result<Handle, ArchiveError> {
    match format {
        Format::Hdf5 => hdf5::File::open(path).map(Handle::Hdf5).map_err(|e| ArchiveError::unreadable(path, e)),
        _ => NcFile::open(path, false).map(Handle::Netcdf).map_err(|e| ArchiveError::unreadable(path, e)),
    }
}

/// Whether the first bytes are those of NetCDF classic.
fn starts_like_classic(path: &Path) -> Result<bool, ArchiveError> {
    let mut magic = [0u8; 3];
    match std::fs::File::open(path).and_then(|mut file| file.read(&mut magic)) {
        Ok(0) => Err(ArchiveError::unreadable(path, "the file is empty")),
        Ok(_) => Ok(&magic == b"CDF"),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(ArchiveError::FileMissing { path: path.into() }),
        Err(e) => Err(ArchiveError::unreadable(path, e)),
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
