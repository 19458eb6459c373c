//! What the `hdf5` crate does not offer: raw slabs by element type, collective transfer, files whose bytes depend on
//! nothing but their content.

use std::path::Path;

use hdf5::plist::file_access::{MetadataCacheConfig, MetadataWriteStrategy};
use hdf5::plist::{DatasetCreate, FileAccess};
use hdf5::types::{FloatSize, IntSize, TypeDescriptor};
use hdf5::{Dataset, Dataspace, Datatype, File, Group, LinkType, ObjectReference, ObjectReference1, PropertyList};
use hdf5_metno_sys::{h5a, h5d, h5f, h5p, h5s, h5z};

use super::{ElementType, Values};
#[cfg(parallel_hdf5)]
use crate::world::RawInfo;
use crate::world::{RawComm, World};

/// Result with the library's own message.
pub(crate) type H5Result<T> = Result<T, hdf5::Error>;

/// The HDF5 type of a stored number, in this machine's byte order.
pub(crate) fn native_type(element: ElementType) -> H5Result<Datatype> {
    use ElementType as E;
    Datatype::from_descriptor(&match element {
        E::I8 => TypeDescriptor::Integer(IntSize::U1),
        E::U8 => TypeDescriptor::Unsigned(IntSize::U1),
        E::I16 => TypeDescriptor::Integer(IntSize::U2),
        E::U16 => TypeDescriptor::Unsigned(IntSize::U2),
        E::I32 => TypeDescriptor::Integer(IntSize::U4),
        E::U32 => TypeDescriptor::Unsigned(IntSize::U4),
        E::I64 => TypeDescriptor::Integer(IntSize::U8),
        E::U64 => TypeDescriptor::Unsigned(IntSize::U8),
        E::F32 => TypeDescriptor::Float(FloatSize::U4),
        E::F64 => TypeDescriptor::Float(FloatSize::U8),
    })
}

/// The element type that holds every number of this HDF5 type exactly; `None` for anything that is not a plain number.
pub(crate) fn element_of(dtype: &Datatype) -> Option<ElementType> {
    use ElementType as E;
    Some(match dtype.to_descriptor().ok()? {
        TypeDescriptor::Integer(IntSize::U1) => E::I8,
        TypeDescriptor::Unsigned(IntSize::U1) => E::U8,
        TypeDescriptor::Integer(IntSize::U2) => E::I16,
        TypeDescriptor::Unsigned(IntSize::U2) => E::U16,
        TypeDescriptor::Integer(IntSize::U4) => E::I32,
        TypeDescriptor::Unsigned(IntSize::U4) => E::U32,
        TypeDescriptor::Integer(IntSize::U8) => E::I64,
        TypeDescriptor::Unsigned(IntSize::U8) => E::U64,
        TypeDescriptor::Float(FloatSize::U4) => E::F32,
        TypeDescriptor::Float(FloatSize::U8) => E::F64,
        _ => return None,
    })
}

/// A new file: format of HDF5 1.8 or later whatever library writes it, links in creation order, no times.
pub(crate) fn create(path: &Path) -> H5Result<File> {
    use hdf5::file::LibraryVersion::{V18, V110};
    use hdf5::plist::file_create::LinkCreationOrder as Order;
    File::with_options()
        .with_fapl(|access| access.libver_bounds(V18, V110))
        .with_fcpl(|plist| plist.obj_track_times(false).link_creation_order(Order::Indexed))
        .create(path)
}

/// A group whose members keep their order, without times.
pub(crate) fn create_group(parent: &Group, name: &str) -> H5Result<Group> {
    use hdf5::plist::file_create::LinkCreationOrder as Order;
    let builder = parent.create_group_builder().obj_track_times(false);
    builder.with_gcpl(|plist| plist.link_creation_order(Order::Indexed)).create(name)
}

/// Whether the library moves data over MPI: build.rs asks it. With a serial one rank 0 writes, see [`super::shared`].
pub(crate) const PARALLEL: bool = cfg!(parallel_hdf5);

/// The communicator, where there is one and the library can use it.
pub(crate) fn comm(world: &World) -> Option<RawComm> {
    world.raw_comm().filter(|_| PARALLEL)
}

/// Opens an existing file for writing, by all ranks together if there is a communicator.
pub(crate) fn open_shared(path: &Path, comm: Option<RawComm>) -> H5Result<File> {
    use hdf5::file::LibraryVersion::{V18, V110};
    let mut access = FileAccess::build();
    access.libver_bounds(V18, V110);
    if comm.is_some() {
        // A write that fails on some rank within the collective closing would leave the others waiting; rank 0 alone
        // may fail there, and the library tells them.
        let cache = FileAccess::build().finish()?.get_mdc_config()?;
        access.mdc_config(&MetadataCacheConfig {
            metadata_write_strategy: MetadataWriteStrategy::ProcessZeroOnly,
            ..cache
        });
        #[cfg(parallel_hdf5)]
        access.all_coll_metadata_ops(true);
    }
    let access = access.finish()?;
    if let Some(comm) = comm {
        set_comm(&access, comm)?;
    }
    // The crate's own call would read the list back, and knows no MPI.
    let name = c_string(&path.to_string_lossy())?;
    hdf5::sync::sync(|| {
        // SAFETY: the name ends with NUL; the list is alive for the call; the new id is owned by the returned handle.
        unsafe { hdf5::from_id(hdf5::h5check(h5f::H5Fopen(name.as_ptr(), h5f::H5F_ACC_RDWR, access.id()))?) }
    })
}

/// Makes the ranks of `comm` open a file together.
#[cfg(parallel_hdf5)]
fn set_comm(access: &FileAccess, comm: RawComm) -> H5Result<()> {
    use hdf5_metno_sys::h5i::hid_t;
    // The `hdf5` crates know MPI only with a feature that refuses to compile with a serial library.
    unsafe extern "C" {
        fn H5Pset_fapl_mpio(access: hid_t, comm: RawComm, info: RawInfo) -> std::ffi::c_int;
    }
    // SAFETY: the list and the communicator are alive; both handles are passed as the C types they wrap.
    hdf5::h5check(hdf5::sync::sync(|| unsafe { H5Pset_fapl_mpio(access.id(), comm, RawInfo::none()) })).map(drop)
}

#[cfg(not(parallel_hdf5))]
fn set_comm(_: &FileAccess, _: RawComm) -> H5Result<()> {
    unreachable!("`comm` hands no communicator to a serial library")
}

/// A contiguous dataset whose space exists in the file from the start and is never pre-filled.
pub(crate) fn create_contiguous(parent: &Group, name: &str, dtype: &Datatype, shape: &[usize]) -> H5Result<Dataset> {
    use hdf5::dataset::{AllocTime, FillTime};
    let mut plist = DatasetCreate::build();
    plist.obj_track_times(false).alloc_time(Some(AllocTime::Early)).fill_time(FillTime::Never);
    create_dataset(parent, name, dtype, shape, &plist.finish()?)
}

/// A dataset of fixed shape with this creation list.
pub(crate) fn create_dataset(
    parent: &Group,
    name: &str,
    dtype: &Datatype,
    shape: &[usize],
    plist: &DatasetCreate,
) -> H5Result<Dataset> {
    let space = if shape.is_empty() { Dataspace::try_new(())? } else { Dataspace::try_new(shape)? };
    create_in_space(parent, name, dtype, &space, plist)
}

/// A dataset in this dataspace with this creation list.
pub(crate) fn create_in_space(
    parent: &Group,
    name: &str,
    dtype: &Datatype,
    space: &Dataspace,
    plist: &DatasetCreate,
) -> H5Result<Dataset> {
    let name = c_string(name)?;
    hdf5::sync::sync(|| {
        // SAFETY: all ids are alive for the call; the name ends with NUL; the new id is owned by the returned handle.
        unsafe {
            let id = h5d::H5Dcreate2(
                parent.id(),
                name.as_ptr(),
                dtype.id(),
                space.id(),
                h5p::H5P_DEFAULT,
                plist.id(),
                h5p::H5P_DEFAULT,
            );
            hdf5::from_id(hdf5::h5check(id)?)
        }
    })
}

/// Sets the extents of a chunked dataset.
pub(crate) fn set_extent(dataset: &Dataset, shape: &[usize]) -> H5Result<()> {
    assert_eq!(dataset.ndim(), shape.len(), "extents of a dataset");
    let shape: Vec<u64> = shape.iter().map(|&n| n as u64).collect();
    // SAFETY: one extent per dimension, checked above.
    hdf5::h5check(hdf5::sync::sync(|| unsafe { h5d::H5Dset_extent(dataset.id(), shape.as_ptr()) })).map(drop)
}

/// Writes what is in memory of a dataset to its file.
pub(crate) fn flush(dataset: &Dataset) -> H5Result<()> {
    // SAFETY: the id is alive.
    hdf5::h5check(hdf5::sync::sync(|| unsafe { h5d::H5Dflush(dataset.id()) })).map(drop)
}

/// A part of a dataset; empty lists for a scalar.
#[derive(Debug, Clone, Default)]
pub(crate) struct Slab {
    /// First index along each dimension of the dataset.
    pub(crate) start: Vec<usize>,
    /// Number of indices along each dimension of the dataset.
    pub(crate) count: Vec<usize>,
}

impl Slab {
    /// All of a dataset of this shape.
    pub(crate) fn all(shape: &[usize]) -> Self {
        Self { start: vec![0; shape.len()], count: shape.to_vec() }
    }

    /// Number of values.
    pub(crate) fn len(&self) -> usize {
        self.count.iter().product()
    }
}

/// How the ranks move data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transfer {
    /// Each on its own.
    Independent,
    /// All ranks in one call, with empty slabs where a rank has nothing.
    Collective,
}

impl Transfer {
    /// Collective where there is a communicator.
    pub(crate) fn for_comm(comm: Option<RawComm>) -> Self {
        if comm.is_some() { Self::Collective } else { Self::Independent }
    }

    fn plist(self) -> H5Result<Option<PropertyList>> {
        if self == Self::Independent {
            return Ok(None);
        }
        #[cfg(not(parallel_hdf5))]
        unreachable!("`comm` hands no communicator to a serial library");
        #[cfg(parallel_hdf5)]
        hdf5::sync::sync(|| {
            // SAFETY: the new list is owned by the returned handle before it is used.
            unsafe {
                let id = hdf5::h5check(h5p::H5Pcreate(*h5p::H5P_CLS_DATASET_XFER))?;
                let plist: PropertyList = hdf5::from_id(id)?;
                let mode = h5p::H5FD_mpio_xfer_t::H5FD_MPIO_COLLECTIVE;
                hdf5::h5check(h5p::H5Pset_dxpl_mpio(plist.id(), mode))?;
                Ok(Some(plist))
            }
        })
    }
}

/// Memory and file dataspaces of a slab.
fn spaces(dataset: &Dataset, slab: &Slab) -> H5Result<(Dataspace, Dataspace)> {
    let file = dataset.space()?;
    let memory = if slab.count.is_empty() { Dataspace::try_new(())? } else { Dataspace::try_new(&slab.count[..])? };
    if slab.count.is_empty() {
        return Ok((memory, file));
    }
    assert_eq!((slab.start.len(), slab.count.len()), (file.ndim(), file.ndim()), "slab rank");
    let widen = |list: &[usize]| list.iter().map(|&n| n as u64).collect::<Vec<_>>();
    let (start, count) = (widen(&slab.start), widen(&slab.count));
    hdf5::sync::sync(|| {
        // SAFETY: start and count have one entry per dimension of the file space, checked above.
        unsafe {
            hdf5::h5check(if slab.len() == 0 {
                h5s::H5Sselect_none(file.id()).min(h5s::H5Sselect_none(memory.id()))
            } else {
                let op = h5s::H5S_SELECT_SET;
                let none = std::ptr::null();
                h5s::H5Sselect_hyperslab(file.id(), op, start.as_ptr(), none, count.as_ptr(), none)
            })
        }
    })?;
    Ok((memory, file))
}

/// Writes numbers of memory type `dtype`, given as bytes, to a slab.
pub(crate) fn write(
    dataset: &Dataset,
    dtype: &Datatype,
    slab: &Slab,
    bytes: &[u8],
    transfer: Transfer,
) -> H5Result<()> {
    assert_eq!(bytes.len(), slab.len() * dtype.size(), "bytes of the slab");
    let (memory, file) = spaces(dataset, slab)?;
    let plist = transfer.plist()?;
    let plist_id = plist.as_ref().map_or(h5p::H5P_DEFAULT, |p| p.id());
    // SAFETY: the memory space selects exactly the bytes of the buffer, checked above.
    let write =
        || unsafe { h5d::H5Dwrite(dataset.id(), dtype.id(), memory.id(), file.id(), plist_id, bytes.as_ptr().cast()) };
    hdf5::h5check(hdf5::sync::sync(write)).map(drop)
}

/// Reads a slab as numbers of memory type `dtype` into `bytes`.
pub(crate) fn read(dataset: &Dataset, dtype: &Datatype, slab: &Slab, bytes: &mut [u8]) -> H5Result<()> {
    assert_eq!(bytes.len(), slab.len() * dtype.size(), "bytes of the slab");
    let (memory, file) = spaces(dataset, slab)?;
    // SAFETY: the memory space selects exactly the bytes of the buffer, checked above.
    let read = || unsafe {
        let plist = h5p::H5P_DEFAULT;
        h5d::H5Dread(dataset.id(), dtype.id(), memory.id(), file.id(), plist, bytes.as_mut_ptr().cast())
    };
    hdf5::h5check(hdf5::sync::sync(read)).map(drop)
}

/// Reads a slab of numbers of type `element`.
pub(crate) fn read_values(dataset: &Dataset, element: ElementType, slab: &Slab) -> H5Result<Values> {
    let mut values = Values::zeros(element, slab.len());
    read(dataset, &native_type(element)?, slab, values.bytes_mut())?;
    Ok(values)
}

/// Writes a text as a scalar string of fixed length.
pub(crate) fn write_text(parent: &Group, name: &str, text: &str) -> H5Result<()> {
    // HDF5 has no strings of length 0; a lone NUL is padding and reads back as the empty text.
    let bytes = if text.is_empty() { b"\0" } else { text.as_bytes() };
    let dtype = Datatype::from_descriptor(&TypeDescriptor::FixedUnicode(bytes.len()))?;
    let dataset = create_contiguous(parent, name, &dtype, &[])?;
    write(&dataset, &dtype, &Slab::default(), bytes, Transfer::Independent)
}

/// A name as the C library wants it.
pub(crate) fn c_string(text: &str) -> H5Result<std::ffi::CString> {
    std::ffi::CString::new(text).map_err(|_| hdf5::Error::Internal("a name holds a NUL byte".into()))
}

/// A step of the pipeline that the chunks of a dataset pass.
pub(crate) struct Filter {
    /// Registered number.
    pub(crate) id: i32,
    flags: u32,
    values: Vec<u32>,
}

impl Filter {
    /// Whether this library has it, or finds it in the folder of plugins.
    pub(crate) fn is_there(&self) -> bool {
        // SAFETY: the call takes any number; where the folder of plugins is missing it fails, which means no.
        hdf5::sync::sync(|| unsafe { h5z::H5Zfilter_avail(self.id) }) > 0
    }
}

/// The filters of a dataset with this creation list.
pub(crate) fn filters(plist: &DatasetCreate) -> H5Result<Vec<Filter>> {
    // SAFETY: the id is alive.
    let n = hdf5::h5check(hdf5::sync::sync(|| unsafe { h5p::H5Pget_nfilters(plist.id()) }))?;
    let filter = |index: u32| {
        let (mut flags, mut config, mut n_values) = (0, 0, 0);
        let mut get = |n_values: &mut usize, values: *mut u32| {
            // SAFETY: the filter exists; at most `n_values` values are written, and nothing of its name.
            let id = hdf5::sync::sync(|| unsafe {
                let none = std::ptr::null_mut();
                h5p::H5Pget_filter2(plist.id(), index, &mut flags, n_values, values, 0, none, &mut config)
            });
            hdf5::h5check(id)
        };
        get(&mut n_values, std::ptr::null_mut())?;
        let mut values = vec![0; n_values];
        let id = get(&mut n_values, values.as_mut_ptr())?;
        Ok(Filter { id, flags, values })
    };
    (0..u32::try_from(n).unwrap_or(0)).map(filter).collect()
}

/// Lets a dataset be made whose chunks come as they were stored, though this library has not all of their filters: those
/// become optional.
pub(crate) fn allow_missing_filters(plist: &DatasetCreate) -> H5Result<()> {
    for filter in filters(plist)?.into_iter().filter(|filter| !filter.is_there()) {
        let flags = filter.flags | h5z::H5Z_FLAG_OPTIONAL;
        // SAFETY: the id is alive and has this filter; the values are as many as told.
        hdf5::h5check(hdf5::sync::sync(|| unsafe {
            h5p::H5Pmodify_filter(plist.id(), filter.id, flags, filter.values.len(), filter.values.as_ptr())
        }))?;
    }
    Ok(())
}

/// Names and kinds of the links of a group, in creation order where the file keeps it.
pub(crate) fn links(group: &Group) -> H5Result<Vec<(String, LinkType)>> {
    use hdf5::{IndexType, IterationOrder};
    let by_creation = group.links(IndexType::CreationOrder, IterationOrder::Increasing);
    let all = by_creation.or_else(|_| group.links(IndexType::Name, IterationOrder::Increasing))?;
    Ok(all.into_iter().map(|(name, info)| (name, info.link_type)).collect())
}

/// Whether a name that [`links`] gave is not the whole name: what is not UTF-8 in it stands as a replacement character.
pub(crate) fn is_lost(group: &Group, name: &str) -> bool {
    name.contains(char::REPLACEMENT_CHARACTER) && !group.link_exists(name)
}

/// Kind of the link at the end of a path below a group; `None` if there is none.
pub(crate) fn link_type(group: &Group, path: &str) -> H5Result<Option<LinkType>> {
    let (folder, leaf) = path.rsplit_once('/').unwrap_or((".", path));
    Ok(links(&group.group(folder)?)?.into_iter().find(|(name, _)| name == leaf).map(|(_, kind)| kind))
}

/// Names of the members of a group, in creation order where the file keeps it.
pub(crate) fn member_names(group: &Group) -> H5Result<Vec<String>> {
    Ok(links(group)?.into_iter().map(|(name, _)| name).collect())
}

/// Names of the attributes of an object, in the order they are stored in.
pub(crate) fn attribute_names(object: &hdf5::Location) -> H5Result<Vec<String>> {
    object.attr_names_by(hdf5::IndexType::CreationOrder, hdf5::IterationOrder::Increasing)
}

/// Reads an attribute of numbers.
pub(crate) fn read_attribute(attribute: &hdf5::Attribute, element: ElementType) -> H5Result<Values> {
    let bytes = read_attribute_bytes(attribute, &native_type(element)?)?;
    let mut values = Values::zeros(element, bytes.len() / element.size());
    values.bytes_mut().copy_from_slice(&bytes);
    Ok(values)
}

/// Reads an attribute in this memory type.
pub(crate) fn read_attribute_bytes(attribute: &hdf5::Attribute, dtype: &Datatype) -> H5Result<Vec<u8>> {
    let mut bytes = vec![0u8; attribute.size() * dtype.size()];
    // SAFETY: the buffer holds every value of the attribute in the memory type that is passed.
    let read = || unsafe { h5a::H5Aread(attribute.id(), dtype.id(), bytes.as_mut_ptr().cast()) };
    hdf5::h5check(hdf5::sync::sync(read))?;
    Ok(bytes)
}

/// A text without its padding of NULs.
pub(crate) fn text_of_padded(bytes: &[u8]) -> String {
    let end = bytes.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1);
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// Reads a dataset of bytes, or a text without its padding, after checking its size against that of the file.
pub(crate) fn read_flat(dataset: &Dataset, bytes_max: u64) -> H5Result<Vec<u8>> {
    check_size(dataset, bytes_max)?;
    let (dtype, slab) = (dataset.dtype()?, Slab::all(&dataset.get_shape()?));
    let text = matches!(dtype.to_descriptor()?, TypeDescriptor::FixedUnicode(_) | TypeDescriptor::FixedAscii(_));
    if !text && element_of(&dtype) != Some(ElementType::U8) {
        return Err(hdf5::Error::Internal("neither bytes nor text".into()));
    }
    let mut bytes = vec![0u8; dtype.size() * slab.len()];
    read(dataset, &dtype, &slab, &mut bytes)?;
    if text {
        bytes.truncate(bytes.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1));
    }
    Ok(bytes)
}

/// Refuses a dataset that claims to be larger than the file.
pub(crate) fn check_size(dataset: &Dataset, bytes_max: u64) -> H5Result<()> {
    let (size, shape) = (dataset.dtype()?.size() as u64, dataset.get_shape()?);
    let bytes = shape.iter().try_fold(size, |n, &extent| n.checked_mul(extent as u64));
    match bytes {
        Some(bytes) if bytes <= bytes_max => Ok(()),
        _ => Err(hdf5::Error::Internal(format!("shape {shape:?} is larger than the file"))),
    }
}

/// Writes a text attribute of fixed length.
pub(crate) fn write_text_attribute(object: &hdf5::Location, name: &str, text: &str) -> H5Result<()> {
    let bytes = if text.is_empty() { b"\0" } else { text.as_bytes() };
    let dtype = Datatype::from_descriptor(&TypeDescriptor::FixedUnicode(bytes.len()))?;
    let attribute = object.new_attr_builder().empty_as(&dtype).create(name)?;
    // SAFETY: the buffer holds the one text of the attribute.
    let write = || unsafe { h5a::H5Awrite(attribute.id(), dtype.id(), bytes.as_ptr().cast()) };
    hdf5::h5check(hdf5::sync::sync(write)).map(drop)
}

/// Reads a text attribute of fixed length.
pub(crate) fn read_text_attribute(object: &hdf5::Location, name: &str) -> H5Result<String> {
    let attribute = object.attr(name)?;
    let dtype = attribute.dtype()?;
    match dtype.to_descriptor()? {
        TypeDescriptor::FixedUnicode(_) | TypeDescriptor::FixedAscii(_) => {
            Ok(text_of_padded(&read_attribute_bytes(&attribute, &dtype)?))
        }
        _ => Err(hdf5::Error::Internal(format!("attribute `{name}` is no text of fixed length"))),
    }
}

/// The group at `path` below `file`, made if it is not there.
pub(crate) fn make_groups(file: &File, path: &str) -> H5Result<Group> {
    let mut group = file.as_group()?;
    for name in path.split('/').filter(|n| !n.is_empty()) {
        group = if group.link_exists(name) { group.group(name)? } else { create_group(&group, name)? };
    }
    Ok(group)
}

/// Address of an object of this file: what object references hold.
pub(crate) fn address_of(group: &Group, path: &str) -> H5Result<u64> {
    let reference: ObjectReference1 = group.reference(if path.is_empty() { "." } else { path })?;
    // SAFETY: a reference of this kind is one address (hobj_ref_t).
    Ok(unsafe { reference.ptr().cast::<u64>().read_unaligned() })
}
