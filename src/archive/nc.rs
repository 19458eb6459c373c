//! A thin safe layer over libnetcdf: every call under the lock the two libraries share, every status checked, nothing
//! panics on a damaged file.

mod attributes;
mod silence;

use std::ffi::{CStr, c_char, c_int};
use std::marker::PhantomData;
use std::path::Path;

use netcdf_sys as sys;

use super::attributes::Attributes;
use super::h5::Slab;
use super::variable::with_slice;
use super::{ElementType, Values};
use attributes::{copy_attributes, read_attributes, write_attributes};

/// A status of libnetcdf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NcError(c_int);

impl std::fmt::Display for NcError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // SAFETY: the library returns a static string for every status.
        let text = hdf5::sync::sync(|| unsafe { CStr::from_ptr(sys::nc_strerror(self.0)) });
        f.write_str(&text.to_string_lossy())
    }
}

impl NcError {
    /// Whether the system or HDF5 failed (disk, permissions), not the request.
    pub(crate) fn is_of_system(self) -> bool {
        self.0 > 0 || self.0 == sys::NC_EHDFERR
    }
}

/// Result with a status of libnetcdf.
pub(crate) type NcResult<T> = Result<T, NcError>;

/// Runs one library call under the shared lock.
fn call(f: impl FnOnce() -> c_int) -> NcResult<()> {
    let quiet = || {
        silence::on_this_thread();
        f()
    };
    match hdf5::sync::sync(quiet) {
        0 => Ok(()),
        status => Err(NcError(status)),
    }
}

/// Version of the library, without its build date.
pub(crate) fn library_version() -> String {
    // SAFETY: the library returns a static string.
    let text = hdf5::sync::sync(|| unsafe { CStr::from_ptr(sys::nc_inq_libvers()) });
    text.to_string_lossy().split_whitespace().next().unwrap_or_default().into()
}

/// An open file; closed when dropped.
#[derive(Debug)]
pub(crate) struct NcFile {
    id: c_int,
}

/// A group of an open file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NcGroup<'f> {
    id: c_int,
    file: PhantomData<&'f NcFile>,
}

/// A variable of an open file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NcVariable<'f> {
    group: NcGroup<'f>,
    id: c_int,
}

/// A dimension of an open file.
#[derive(Debug, Clone)]
pub(crate) struct NcDimension {
    pub(crate) id: c_int,
    pub(crate) name: String,
    pub(crate) len: usize,
    pub(crate) unlimited: bool,
}

/// On-disk kind of a NetCDF file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NcKind {
    Classic,
    Offset64,
    Data64,
    Netcdf4,
    Netcdf4Classic,
}

impl NcKind {
    fn flags(self) -> c_int {
        match self {
            Self::Classic => 0,
            Self::Offset64 => sys::NC_64BIT_OFFSET,
            Self::Data64 => sys::NC_64BIT_DATA,
            Self::Netcdf4 => sys::NC_NETCDF4,
            Self::Netcdf4Classic => sys::NC_NETCDF4 | sys::NC_CLASSIC_MODEL,
        }
    }
}

fn c_path(path: &Path) -> NcResult<std::ffi::CString> {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(|_| NcError(sys::NC_EBADNAME))
}

fn c_name(name: &str) -> NcResult<std::ffi::CString> {
    std::ffi::CString::new(name).map_err(|_| NcError(sys::NC_EBADNAME))
}

/// Runs an inquiry that fills a name buffer.
fn name_of(inquire: impl FnOnce(*mut c_char) -> c_int) -> NcResult<String> {
    const BYTES: usize = sys::NC_MAX_NAME as usize + 1;
    let mut buffer = [0u8; BYTES];
    call(|| inquire(buffer.as_mut_ptr().cast()))?;
    let end = buffer.iter().position(|&b| b == 0).unwrap_or(BYTES);
    Ok(String::from_utf8_lossy(&buffer[..end]).into_owned())
}

/// Runs an inquiry twice: for the number of ids, then for the ids.
fn ids_of(inquire: impl Fn(*mut c_int, *mut c_int) -> c_int) -> NcResult<Vec<c_int>> {
    let mut n = 0;
    call(|| inquire(&mut n, std::ptr::null_mut()))?;
    let mut ids = vec![0; usize::try_from(n).unwrap_or(0)];
    if !ids.is_empty() {
        call(|| inquire(&mut n, ids.as_mut_ptr()))?;
    }
    Ok(ids)
}

impl NcFile {
    /// Opens a file for reading, or for writing too.
    pub(crate) fn open(path: &Path, write: bool) -> NcResult<Self> {
        let path = c_path(path)?;
        let mode = if write { sys::NC_WRITE } else { sys::NC_NOWRITE };
        let mut id = 0;
        // SAFETY: the path ends with NUL; the id pointer is valid.
        call(|| unsafe { sys::nc_open(path.as_ptr(), mode, &mut id) })?;
        Ok(Self { id })
    }

    /// Creates an empty file, replacing what was there.
    pub(crate) fn create(path: &Path, kind: NcKind) -> NcResult<Self> {
        let path = c_path(path)?;
        let mut id = 0;
        // SAFETY: the path ends with NUL; the id pointer is valid.
        call(|| unsafe { sys::nc_create(path.as_ptr(), kind.flags(), &mut id) })?;
        Ok(Self { id })
    }

    /// The root group.
    pub(crate) fn root(&self) -> NcGroup<'_> {
        NcGroup { id: self.id, file: PhantomData }
    }

    /// Kind of the file.
    pub(crate) fn kind(&self) -> NcResult<NcKind> {
        let mut format = 0;
        // SAFETY: the pointer is valid.
        call(|| unsafe { sys::nc_inq_format(self.id, &mut format) })?;
        Ok(match format {
            sys::NC_FORMAT_CLASSIC => NcKind::Classic,
            sys::NC_FORMAT_64BIT_OFFSET => NcKind::Offset64,
            sys::NC_FORMAT_64BIT_DATA => NcKind::Data64,
            sys::NC_FORMAT_NETCDF4_CLASSIC => NcKind::Netcdf4Classic,
            _ => NcKind::Netcdf4,
        })
    }

    /// Ends the definitions.
    pub(crate) fn end_definitions(&self) -> NcResult<()> {
        // SAFETY: the file is open.
        call(|| unsafe { sys::nc_enddef(self.id) })
    }

    /// Asks for no filling of cells before they are written.
    pub(crate) fn no_fill(&self) -> NcResult<()> {
        let mut old = 0;
        // SAFETY: the file is open; the pointer is valid.
        call(|| unsafe { sys::nc_set_fill(self.id, sys::NC_NOFILL, &mut old) })
    }

    /// Closes the file and says whether everything was written.
    pub(crate) fn close(self) -> NcResult<()> {
        let id = self.id;
        std::mem::forget(self);
        // SAFETY: the file is open and not closed again.
        call(|| unsafe { sys::nc_close(id) })
    }
}

impl Drop for NcFile {
    fn drop(&mut self) {
        // A failure here follows one that was already reported.
        // SAFETY: the file is open.
        let _ = call(|| unsafe { sys::nc_close(self.id) });
    }
}

impl<'f> NcGroup<'f> {
    /// The group's own name.
    pub(crate) fn name(self) -> NcResult<String> {
        // SAFETY: the buffer holds NC_MAX_NAME + 1 bytes.
        name_of(|buffer| unsafe { sys::nc_inq_grpname(self.id, buffer) })
    }

    /// Groups inside, in file order.
    pub(crate) fn groups(self) -> NcResult<Vec<Self>> {
        // SAFETY: the second call passes room for the number of ids told by the first.
        let ids = ids_of(|n, ids| unsafe { sys::nc_inq_grps(self.id, n, ids) })?;
        Ok(ids.into_iter().map(|id| Self { id, file: PhantomData }).collect())
    }

    /// The group inside of this name.
    pub(crate) fn group(self, name: &str) -> NcResult<Self> {
        let name = c_name(name)?;
        let mut id = 0;
        // SAFETY: the name ends with NUL; the pointer is valid.
        call(|| unsafe { sys::nc_inq_grp_ncid(self.id, name.as_ptr(), &mut id) })?;
        Ok(Self { id, file: PhantomData })
    }

    /// The group at a path below this one; the empty path is the group itself.
    pub(crate) fn below(self, path: &str) -> NcResult<Self> {
        path.split('/').filter(|name| !name.is_empty()).try_fold(self, |group, name| group.group(name))
    }

    /// Makes a group.
    pub(crate) fn add_group(self, name: &str) -> NcResult<Self> {
        let name = c_name(name)?;
        let mut id = 0;
        // SAFETY: the name ends with NUL; the pointer is valid.
        call(|| unsafe { sys::nc_def_grp(self.id, name.as_ptr(), &mut id) })?;
        Ok(Self { id, file: PhantomData })
    }

    /// Variables inside, in file order.
    pub(crate) fn variables(self) -> NcResult<Vec<NcVariable<'f>>> {
        // SAFETY: the second call passes room for the number of ids told by the first.
        let ids = ids_of(|n, ids| unsafe { sys::nc_inq_varids(self.id, n, ids) })?;
        Ok(ids.into_iter().map(|id| NcVariable { group: self, id }).collect())
    }

    /// The variable at a path below this group.
    pub(crate) fn variable(self, path: &str) -> NcResult<NcVariable<'f>> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let group = self.below(folder)?;
        let name = c_name(name)?;
        let mut id = 0;
        // SAFETY: the name ends with NUL; the pointer is valid.
        call(|| unsafe { sys::nc_inq_varid(group.id, name.as_ptr(), &mut id) })?;
        Ok(NcVariable { group, id })
    }

    /// Dimensions defined in this very group, in order.
    pub(crate) fn dimensions(self) -> NcResult<Vec<NcDimension>> {
        // SAFETY: the second call passes room for the number of ids told by the first; 0: without the parents'.
        let ids = ids_of(|n, ids| unsafe { sys::nc_inq_dimids(self.id, n, ids, 0) })?;
        // SAFETY: as above.
        let unlimited = ids_of(|n, ids| unsafe { sys::nc_inq_unlimdims(self.id, n, ids) })?;
        ids.into_iter().map(|id| self.dimension(id, unlimited.contains(&id))).collect()
    }

    /// A dimension by its id.
    pub(crate) fn dimension(self, id: c_int, unlimited: bool) -> NcResult<NcDimension> {
        let mut len = 0;
        // SAFETY: the buffer holds NC_MAX_NAME + 1 bytes; the length pointer is valid.
        let name = name_of(|buffer| unsafe { sys::nc_inq_dim(self.id, id, buffer, &mut len) })?;
        Ok(NcDimension { id, name, len, unlimited })
    }

    /// Makes a dimension; `None`: unlimited. Returns its id.
    pub(crate) fn add_dimension(self, name: &str, len: Option<usize>) -> NcResult<c_int> {
        let name = c_name(name)?;
        let mut id = 0;
        // SAFETY: the name ends with NUL; the pointer is valid; 0 is NC_UNLIMITED.
        call(|| unsafe { sys::nc_def_dim(self.id, name.as_ptr(), len.unwrap_or(0), &mut id) })?;
        Ok(id)
    }

    /// Makes a variable of an atomic type.
    pub(crate) fn add_variable(self, name: &str, xtype: c_int, dims: &[c_int]) -> NcResult<NcVariable<'f>> {
        let name = c_name(name)?;
        let n = c_int::try_from(dims.len()).map_err(|_| NcError(sys::NC_EMAXDIMS))?;
        let mut id = 0;
        // SAFETY: the name ends with NUL; `dims` has `n` ids; the pointer is valid.
        call(|| unsafe { sys::nc_def_var(self.id, name.as_ptr(), xtype, n, dims.as_ptr(), &mut id) })?;
        Ok(NcVariable { group: self, id })
    }

    /// Attributes of the group.
    pub(crate) fn attributes(self) -> NcResult<Attributes> {
        read_attributes(self.id, sys::NC_GLOBAL)
    }

    /// Writes attributes of the group.
    pub(crate) fn put_attributes(self, attributes: &Attributes) -> NcResult<()> {
        write_attributes(self.id, sys::NC_GLOBAL, attributes)
    }

    /// Copies every attribute of the group to another file.
    pub(crate) fn copy_attributes_to(self, other: NcGroup<'_>) -> NcResult<()> {
        copy_attributes((self.id, sys::NC_GLOBAL), (other.id, sys::NC_GLOBAL))
    }
}

impl NcVariable<'_> {
    /// The variable's own name.
    pub(crate) fn name(self) -> NcResult<String> {
        // SAFETY: the buffer holds NC_MAX_NAME + 1 bytes.
        name_of(|buffer| unsafe { sys::nc_inq_varname(self.group.id, self.id, buffer) })
    }

    /// External type.
    pub(crate) fn xtype(self) -> NcResult<c_int> {
        let mut xtype = 0;
        // SAFETY: the pointer is valid.
        call(|| unsafe { sys::nc_inq_vartype(self.group.id, self.id, &mut xtype) })?;
        Ok(xtype)
    }

    /// Element type; `None` for text and user types.
    pub(crate) fn element(self) -> NcResult<Option<ElementType>> {
        self.xtype().map(element_of)
    }

    /// Ids of the dimensions.
    pub(crate) fn dimension_ids(self) -> NcResult<Vec<c_int>> {
        let mut n = 0;
        // SAFETY: the pointer is valid.
        call(|| unsafe { sys::nc_inq_varndims(self.group.id, self.id, &mut n) })?;
        let mut ids = vec![0; usize::try_from(n).unwrap_or(0)];
        if !ids.is_empty() {
            // SAFETY: the vector has room for the number of dimensions told above.
            call(|| unsafe { sys::nc_inq_vardimid(self.group.id, self.id, ids.as_mut_ptr()) })?;
        }
        Ok(ids)
    }

    /// Extents, in file order.
    pub(crate) fn shape(self) -> NcResult<Vec<usize>> {
        self.dimension_ids()?.into_iter().map(|id| self.group.dimension(id, false).map(|d| d.len)).collect()
    }

    /// Attributes.
    pub(crate) fn attributes(self) -> NcResult<Attributes> {
        read_attributes(self.group.id, self.id)
    }

    /// Writes attributes.
    pub(crate) fn put_attributes(self, attributes: &Attributes) -> NcResult<()> {
        write_attributes(self.group.id, self.id, attributes)
    }

    /// Copies every attribute to a variable of another file.
    pub(crate) fn copy_attributes_to(self, other: NcVariable<'_>) -> NcResult<()> {
        copy_attributes((self.group.id, self.id), (other.group.id, other.id))
    }

    /// Chunk extents (NetCDF-4), before the definitions end.
    pub(crate) fn set_chunks(self, chunks: &[usize]) -> NcResult<()> {
        assert_eq!(Ok(chunks.len()), self.dimension_ids().map(|d| d.len()), "one chunk extent per dimension");
        // SAFETY: one extent per dimension, checked above.
        call(|| unsafe { sys::nc_def_var_chunking(self.group.id, self.id, sys::NC_CHUNKED, chunks.as_ptr()) })
    }

    /// Byte shuffle and deflate (NetCDF-4), before the definitions end.
    pub(crate) fn set_deflate(self, level: u8) -> NcResult<()> {
        // SAFETY: the file is open.
        call(|| unsafe { sys::nc_def_var_deflate(self.group.id, self.id, 1, 1, level.into()) })
    }

    /// Reads a slab as stored.
    pub(crate) fn read(self, element: ElementType, slab: &Slab) -> NcResult<Values> {
        self.check(element, slab)?;
        let mut values = Values::zeros(element, slab.len());
        let (id, start, count) = (self.group.id, slab.start.as_ptr(), slab.count.as_ptr());
        // SAFETY: the element type is the variable's own and the slab has its rank (checked), so the library writes
        // `slab.len()` numbers of that type.
        with_slice!(&mut values, out => call(|| unsafe {
            sys::nc_get_vara(id, self.id, start, count, out.as_mut_ptr().cast())
        }))?;
        Ok(values)
    }

    /// Writes a slab as stored.
    pub(crate) fn write(self, slab: &Slab, values: &Values) -> NcResult<()> {
        self.check(values.element(), slab)?;
        assert_eq!(values.len(), slab.len(), "values of the slab");
        let (id, start, count) = (self.group.id, slab.start.as_ptr(), slab.count.as_ptr());
        // SAFETY: the element type is the variable's own and the slab has its rank (checked), and holds as many
        // numbers as the buffer.
        with_slice!(values, numbers => call(|| unsafe {
            sys::nc_put_vara(id, self.id, start, count, numbers.as_ptr().cast())
        }))
    }

    fn check(self, element: ElementType, slab: &Slab) -> NcResult<()> {
        if self.element()? != Some(element) {
            return Err(NcError(sys::NC_EBADTYPE));
        }
        assert_eq!(Ok(slab.count.len()), self.dimension_ids().map(|d| d.len()), "slab rank");
        Ok(())
    }

    /// Copies all data of a NetCDF-3 variable to the variable of another file, a record (first index) at a time.
    pub(crate) fn copy_data_to(self, other: NcVariable<'_>) -> NcResult<()> {
        let shape = self.shape()?;
        let element = if self.xtype()? == sys::NC_CHAR { None } else { self.element()? };
        let records = shape.first().copied().unwrap_or(1);
        for record in 0..records {
            let mut slab = Slab::all(&shape);
            if !shape.is_empty() {
                (slab.start[0], slab.count[0]) = (record, 1);
            }
            match element {
                Some(element) => other.write(&slab, &self.read(element, &slab)?)?,
                None => self.copy_text_to(other, &slab)?,
            }
        }
        Ok(())
    }

    fn copy_text_to(self, other: NcVariable<'_>, slab: &Slab) -> NcResult<()> {
        let mut text = vec![0 as c_char; slab.len()];
        let (start, count) = (slab.start.as_ptr(), slab.count.as_ptr());
        // SAFETY: the slab has the rank of both variables and as many characters as the buffer.
        call(|| unsafe { sys::nc_get_vara_text(self.group.id, self.id, start, count, text.as_mut_ptr()) })?;
        // SAFETY: as above.
        call(|| unsafe { sys::nc_put_vara_text(other.group.id, other.id, start, count, text.as_ptr()) })
    }
}

/// Element type of an external type; `None` for text and user types.
fn element_of(xtype: c_int) -> Option<ElementType> {
    use ElementType as E;
    Some(match xtype {
        sys::NC_BYTE => E::I8,
        sys::NC_UBYTE => E::U8,
        sys::NC_SHORT => E::I16,
        sys::NC_USHORT => E::U16,
        sys::NC_INT => E::I32,
        sys::NC_UINT => E::U32,
        sys::NC_INT64 => E::I64,
        sys::NC_UINT64 => E::U64,
        sys::NC_FLOAT => E::F32,
        sys::NC_DOUBLE => E::F64,
        _ => return None,
    })
}

/// External type of an element type.
pub(crate) fn xtype_of(element: ElementType) -> c_int {
    use ElementType as E;
    match element {
        E::I8 => sys::NC_BYTE,
        E::U8 => sys::NC_UBYTE,
        E::I16 => sys::NC_SHORT,
        E::U16 => sys::NC_USHORT,
        E::I32 => sys::NC_INT,
        E::U32 => sys::NC_UINT,
        E::I64 => sys::NC_INT64,
        E::U64 => sys::NC_UINT64,
        E::F32 => sys::NC_FLOAT,
        E::F64 => sys::NC_DOUBLE,
    }
}

/// What the library puts into cells nobody wrote. Single bytes have none in practice (all 256 values are used).
pub(crate) fn default_fill(element: ElementType) -> Option<Values> {
    use ElementType as E;
    Some(match element {
        E::I8 | E::U8 => return None,
        E::I16 => Values::I16(vec![sys::NC_FILL_SHORT]),
        E::U16 => Values::U16(vec![sys::NC_FILL_USHORT]),
        E::I32 => Values::I32(vec![sys::NC_FILL_INT]),
        E::U32 => Values::U32(vec![sys::NC_FILL_UINT]),
        E::I64 => Values::I64(vec![sys::NC_FILL_INT64]),
        E::U64 => Values::U64(vec![sys::NC_FILL_UINT64]),
        E::F32 => Values::F32(vec![sys::NC_FILL_FLOAT]),
        E::F64 => Values::F64(vec![sys::NC_FILL_DOUBLE]),
    })
}
