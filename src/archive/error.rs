//! What can go wrong with a file, and whose turn it is to act.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// Whether the files that were given or the files that were to be made are at fault; decides the exit code (3 or 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// An input is missing, damaged, or not what the job expects.
    Input,
    /// An output could not be written.
    Output,
}

/// Everything that can fail in `archive/`.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// No file of this name.
    #[error("{}: no such file, or a link that leads nowhere: check the path and the folder the job was started in", path.display())]
    FileMissing {
        /// The file.
        path: PathBuf,
    },
    /// The file exists but is not a readable file of a known format.
    #[error("{}: cannot be opened: {reason}; expected NetCDF (classic or 4), HDF5 or IDX, or raw numbers that data.raw describes: is the file complete? (curves in XML or columns of text: `generate: {{name: stack}}` makes one file of them)", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the library said.
        reason: String,
    },
    /// A file of a single array has another length than its header or its description says.
    #[error("{}: has {found} bytes, expected {expected}: it was cut off, something was appended, or it is another kind of file", path.display())]
    FileLength {
        /// The file.
        path: PathBuf,
        /// Its length.
        found: u64,
        /// What its length should be, and why.
        expected: String,
    },
    /// The file has no variable of this name that can be coded.
    #[error("{}: no variable `{variable}`: it has {}", path.display(), list(available))]
    VariableMissing {
        /// The file.
        path: PathBuf,
        /// The name asked for.
        variable: String,
        /// Names that would have worked.
        available: Vec<String>,
    },
    /// A second name of a dataset: each is coded once.
    #[error("{}: `{variable}` is another name of `{name}` (a link): ask for that", path.display())]
    OtherName {
        /// The file.
        path: PathBuf,
        /// The name asked for.
        variable: String,
        /// The name that the dataset is taken under.
        name: String,
    },
    /// An external link that does not lead to a dataset.
    #[error("{}: `{variable}` is a link to `{object}` in {file}, and there is no such dataset: bring that file, or leave the variable out of data.variables and the link is kept", path.display())]
    LinkBroken {
        /// The file.
        path: PathBuf,
        /// The name asked for.
        variable: String,
        /// The file that it leads to, as the link has it.
        file: String,
        /// The object there.
        object: String,
    },
    /// A variable whose numbers we cannot code (text, compound, references, ...).
    #[error("{}: variable `{variable}` holds {found}: only integers and floats of 8 to 64 bits can be coded; leave it out of data.variables and it is kept as it is", path.display())]
    TypeUnsupported {
        /// The file.
        path: PathBuf,
        /// The variable.
        variable: String,
        /// The type found.
        found: String,
    },
    /// A file without fields.
    #[error("{}: holds no field that can be coded (numbers on a grid, 64 or more, no coordinates or flags); other numeric variables: {}; name what is to be coded in data.variables; where every file has a single image or curve, `generate: {{name: stack}}` makes one file of many", path.display(), list(available))]
    NothingToCode {
        /// The file.
        path: PathBuf,
        /// Numeric variables that can be asked for by name.
        available: Vec<String>,
    },
    /// A filter that the HDF5 library does not have.
    #[error("{}: `{variable}` is compressed with filter {filter}, which this HDF5 library does not have: install its plugin and name the folder in HDF5_PLUGIN_PATH, store the file without it (h5repack -f NONE), or leave the variable out of data.variables and it is kept as it is", path.display())]
    FilterMissing {
        /// The file.
        path: PathBuf,
        /// The dataset.
        variable: String,
        /// Registered number of the filter.
        filter: i32,
    },
    /// A dataset that HDF5 does not open.
    #[error("{}: `{variable}` cannot be opened by HDF5 {}: {reason}; it is damaged, or a newer library wrote it: write it in a form that this one reads (h5py: libver=('earliest', 'v110')); where nothing is compressed, data.variables may name the others", path.display(), super::library_versions()[0].1)]
    Closed {
        /// The file.
        path: PathBuf,
        /// The dataset.
        variable: String,
        /// What the library said.
        reason: String,
    },
    /// The name of a link whose bytes are no text.
    #[error("{}: the name of `{variable}` is not UTF-8 (each \u{fffd} is a byte that is not): give it another; where nothing is compressed, data.variables may name the others", path.display())]
    NameNoText {
        /// The file.
        path: PathBuf,
        /// What of the name is text.
        variable: String,
    },
    /// A part of a virtual dataset that is not there.
    #[error("{}: `{variable}` is a virtual dataset, and its file {file} is not there: bring it, or store the values in one file (h5repack)", path.display())]
    SourceMissing {
        /// The file.
        path: PathBuf,
        /// The dataset.
        variable: String,
        /// Name of the missing file, as the dataset has it.
        file: String,
    },
    /// A dataset that is nearly all fill values that nobody wrote.
    #[error("{}: `{variable}` declares {declared} bytes, of which {stored} are in the file: the rest was never written; leave it out of data.variables, or cut it to what is there", path.display())]
    Hollow {
        /// The file.
        path: PathBuf,
        /// The dataset.
        variable: String,
        /// Bytes that its extents declare.
        declared: u64,
        /// Bytes in the file.
        stored: u64,
    },
    /// More values along one axis than the indices of tiles can tell apart.
    #[error("{}: variable `{variable}` has 2^32 values or more along one axis: cut it into several files", path.display())]
    AxisTooLong {
        /// The file.
        path: PathBuf,
        /// The variable.
        variable: String,
    },
    /// A variable without values.
    #[error("{}: variable `{variable}` is empty (a dimension of length 0)", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// The variable.
        variable: String,
    },
    /// A shape that differs from the one expected.
    #[error("{}: variable `{variable}` has shape (t, z, y, x) = {found:?}, expected {expected:?}: {advice}", path.display())]
    ShapeMismatch {
        /// The file.
        path: PathBuf,
        /// The variable.
        variable: String,
        /// Shape of the others, or of the file.
        expected: Vec<usize>,
        /// Shape found.
        found: Vec<usize>,
        /// What to do.
        advice: &'static str,
    },
    /// `data.sample.axis` names no dimension.
    #[error("{}: no dimension `{axis}` (data.sample.axis): the dimensions are {}", path.display(), list(available))]
    AxisMissing {
        /// The file.
        path: PathBuf,
        /// The name or number given.
        axis: String,
        /// Dimensions of the file.
        available: Vec<String>,
    },
    /// The files of one series do not fit together.
    #[error("{}: variable `{variable}` is {found}, but {expected} in {}: files of one series must agree", path.display(), first.display())]
    SeriesMismatch {
        /// The file that differs.
        path: PathBuf,
        /// The first file of the series.
        first: PathBuf,
        /// The variable.
        variable: String,
        /// What the first file has.
        expected: String,
        /// What this one has.
        found: String,
    },
    /// No file at all.
    #[error("no input file: data.inputs matches nothing")]
    NoFiles,
    /// Data of a variable could not be read, though the header could.
    #[error("{}: `{what}` cannot be read: {reason}; the file is damaged or incomplete", path.display())]
    ReadFailed {
        /// The file.
        path: PathBuf,
        /// Variable, stream or entry.
        what: String,
        /// What the library said.
        reason: String,
    },
    /// An archive where data is expected.
    #[error("{}: is an archive (perhaps cut off), no data file: give it to `decompress` or `extract`", path.display())]
    IsArchive {
        /// The file.
        path: PathBuf,
    },
    /// A file without the last bytes of an archive, a model or a checkpoint.
    #[error("{}: is no complete archive, model or checkpoint: it was cut off, or not made by this version of sci-hpc", path.display())]
    NotSealed {
        /// The file.
        path: PathBuf,
    },
    /// Bytes that do not have the hash they were written with.
    #[error("{}: {what} is damaged (its hash differs): copy the file again from where it was made", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which stream or part.
        what: String,
    },
    /// An entry that the format prescribes is not there.
    #[error("{}: no entry `{entry}`: not a complete file of this kind, or of another format version", path.display())]
    EntryMissing {
        /// The file.
        path: PathBuf,
        /// Path inside the file.
        entry: String,
    },
    /// An entry does not hold what the format prescribes.
    #[error("{}: entry `{entry}` is {found}, expected {expected}: the file is damaged or of another version", path.display())]
    EntryMismatch {
        /// The file.
        path: PathBuf,
        /// Path inside the file.
        entry: String,
        /// What the format prescribes.
        expected: String,
        /// What was found.
        found: String,
    },
    /// A file of text that holds no curve.
    #[error("{}: no curve I(q): {reason}", path.display())]
    NoCurve {
        /// The file.
        path: PathBuf,
        /// What it has instead.
        reason: String,
    },
    /// A file whose content an archive cannot hold.
    #[error("{}: cannot be kept in an archive: {reason}; copy the file anew, or without what is named", path.display())]
    NotKept {
        /// The file.
        path: PathBuf,
        /// What the library said.
        reason: String,
    },
    /// An output could not be written.
    #[error("{}: cannot be written: {reason}; check free space, quota and permissions", path.display())]
    WriteFailed {
        /// The file.
        path: PathBuf,
        /// What the system or library said.
        reason: String,
    },
}

impl ArchiveError {
    /// Whose fault it is; decides the exit code.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::WriteFailed { .. } => ErrorClass::Output,
            _ => ErrorClass::Input,
        }
    }

    pub(crate) fn unreadable(path: &Path, reason: impl ToString) -> Self {
        Self::Unreadable { path: path.into(), reason: reason.to_string() }
    }

    pub(crate) fn read(path: &Path, what: &str, reason: impl ToString) -> Self {
        Self::ReadFailed { path: path.into(), what: what.into(), reason: reason.to_string() }
    }

    pub(crate) fn write(path: &Path, reason: impl ToString) -> Self {
        Self::WriteFailed { path: path.into(), reason: of_system(&reason.to_string()) }
    }

    pub(crate) fn not_kept(path: &Path, reason: impl ToString) -> Self {
        Self::NotKept { path: path.into(), reason: of_system(&reason.to_string()) }
    }

    pub(crate) fn entry(path: &Path, entry: &str, expected: impl ToString, found: impl ToString) -> Self {
        let (expected, found) = (expected.to_string(), found.to_string());
        Self::EntryMismatch { path: path.into(), entry: entry.into(), expected, found }
    }
}

/// HDF5 tells addresses, descriptors and the clock with what the system said: only the latter is kept.
fn of_system(reason: &str) -> String {
    let said = reason.split_once("error message = '").and_then(|(_, rest)| rest.split_once('\''));
    match (reason.split_once(": time ="), said) {
        (Some((what, _)), Some((said, _))) => format!("{what}: {said}"),
        _ => reason.into(),
    }
}

/// At most a dozen names in one line.
fn list(names: &[String]) -> String {
    const SHOWN: usize = 12;
    let mut text = names.iter().take(SHOWN).map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text += &format!(" and {} more", names.len() - SHOWN);
    }
    if text.is_empty() { "none".into() } else { text }
}
