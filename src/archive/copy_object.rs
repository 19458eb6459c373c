//! Copies single HDF5 objects between files: datasets, attributes, committed types, object references.

use std::collections::BTreeMap;

use hdf5::dataset::DatasetCreate;
use hdf5::types::{Reference, TypeDescriptor};
use hdf5::{Attribute, Container, Dataset, Datatype, Group, Location, PropertyList};
use hdf5_metno_sys::h5t::hvl_t;
use hdf5_metno_sys::{h5a, h5d, h5i::H5I_type_t, h5i::hid_t, h5p, h5s, h5t, h5z};

use super::h5::{self, H5Result, Slab, Transfer};

/// How the copy of a dataset is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Storage {
    /// As in the original, with its data.
    Same,
    /// A header without data, with the storage properties of the original.
    Skeleton,
    /// Space for uncompressed data, allocated and not filled.
    Space,
}

/// Creates a dataset with the extents, fill value and storage properties of the original.
pub(crate) fn create_dataset(
    from: &Dataset,
    to: &Group,
    name: &str,
    (dtype, storage): (&Datatype, Storage),
) -> H5Result<Dataset> {
    let plist = creation_list(from, storage)?;
    h5::create_in_space(to, name, dtype, &from.space()?, &plist)
}

fn creation_list(from: &Dataset, storage: Storage) -> H5Result<DatasetCreate> {
    use h5d::H5D_alloc_time_t::{H5D_ALLOC_TIME_DEFAULT, H5D_ALLOC_TIME_EARLY};
    use h5d::H5D_fill_time_t::H5D_FILL_TIME_NEVER;
    use h5d::H5D_layout_t::{H5D_CHUNKED, H5D_COMPACT, H5D_CONTIGUOUS};
    // Data in other files (external storage) is brought in, so the list that names them is not kept.
    let external = !from.dcpl()?.get_external()?.is_empty();
    let plist = if external { DatasetCreate::try_new()? } else { from.dcpl()? };
    h5::allow_missing_filters(&plist)?;
    let (id, resizable) = (plist.id(), from.space()?.is_resizable());
    let chunk = chunk_of(&from.get_shape()?, from.dtype()?.size());
    hdf5::sync::sync(|| {
        // SAFETY: the id is alive; these calls only change properties of the list.
        unsafe {
            hdf5::h5check(h5p::H5Pset_obj_track_times(id, 0))?;
            let layout = h5p::H5Pget_layout(id);
            if storage == Storage::Space {
                hdf5::h5check(h5p::H5Premove_filter(id, h5z::H5Z_FILTER_ALL))?;
            }
            let keep = match storage {
                Storage::Same => layout == H5D_CHUNKED || layout == H5D_COMPACT,
                Storage::Skeleton => layout == H5D_CHUNKED,
                Storage::Space => layout == H5D_CHUNKED && resizable,
            };
            if resizable && layout != H5D_CHUNKED {
                // Virtual or in other files there: here only chunks can grow.
                hdf5::h5check(h5p::H5Pset_chunk(id, chunk.len() as i32, chunk.as_ptr()))?;
            } else if !keep {
                hdf5::h5check(h5p::H5Pset_layout(id, H5D_CONTIGUOUS))?;
            }
            if storage == Storage::Space {
                hdf5::h5check(h5p::H5Pset_fill_time(id, H5D_FILL_TIME_NEVER))?;
                hdf5::h5check(h5p::H5Pset_alloc_time(id, H5D_ALLOC_TIME_EARLY))?;
            } else {
                // The default is late: a skeleton gets no space, as nothing is written.
                hdf5::h5check(h5p::H5Pset_alloc_time(id, H5D_ALLOC_TIME_DEFAULT))?;
            }
            Ok::<_, hdf5::Error>(())
        }
    })?;
    Ok(plist)
}

/// Extents of chunks of at most a megabyte, or one number; the last axes are halved last.
fn chunk_of(shape: &[usize], bytes: usize) -> Vec<u64> {
    const CHUNK_BYTES: usize = 1 << 20;
    let mut chunk: Vec<usize> = shape.iter().map(|&n| n.max(1)).collect();
    while let Some(axis) = chunk.iter().position(|&n| n > 1)
        && chunk.iter().fold(bytes, |all, &n| all.saturating_mul(n)) > CHUNK_BYTES
    {
        chunk[axis] = chunk[axis].div_ceil(2);
    }
    chunk.into_iter().map(|n| n as u64).collect()
}

/// Copies a committed type; its attributes are the caller's.
pub(crate) fn copy_type(from: &Group, to: &Group, name: &str) -> H5Result<()> {
    let dtype = free_copy(from.committed_datatype(name)?.as_datatype())?;
    let name = h5::c_string(name)?;
    hdf5::sync::sync(|| {
        // SAFETY: all ids are alive; the name ends with NUL; the new list is owned by its handle.
        unsafe {
            let plist: PropertyList = hdf5::from_id(hdf5::h5check(h5p::H5Pcreate(*h5p::H5P_CLS_DATATYPE_CREATE))?)?;
            hdf5::h5check(h5p::H5Pset_obj_track_times(plist.id(), 0))?;
            let default = h5p::H5P_DEFAULT;
            let status = h5t::H5Tcommit2(to.id(), name.as_ptr(), dtype.id(), default, plist.id(), default);
            hdf5::h5check(status).map(drop)
        }
    })
}

/// Copies the data of an untouched dataset: chunks as they lie in the file, without decoding; other layouts slab by
/// slab in the type of the file. References are left to [`translate`].
pub(crate) fn copy_data(from: &Dataset, to: &Dataset) -> H5Result<()> {
    let (dtype, shape) = (from.dtype()?, from.get_shape()?);
    let virtual_layout = from.dcpl()?.get_layout()? == hdf5::dataset::Layout::Virtual;
    let stored = from.storage_size() > 0 || virtual_layout || !from.dcpl()?.get_external()?.is_empty();
    if from.size() == 0 || from.space()?.is_null() || !stored || holds_references(&dtype)? {
        return Ok(());
    }
    if has_heap_data(&dtype)? {
        return transfer(from, to, |_, _| Ok(()));
    }
    match from.chunk() {
        Some(chunk) => copy_chunks(from, to, &shape, &chunk),
        None => copy_slabs(from, to, &dtype, &shape),
    }
}

fn copy_chunks(from: &Dataset, to: &Dataset, shape: &[usize], chunk: &[usize]) -> H5Result<()> {
    let mut at = vec![0u64; shape.len()];
    loop {
        copy_chunk(from, to, &at)?;
        // Next chunk, last dimension fastest.
        let next = (0..shape.len()).rev().find(|&axis| at[axis] + (chunk[axis] as u64) < shape[axis] as u64);
        let Some(axis) = next else { return Ok(()) };
        at[axis] += chunk[axis] as u64;
        at[axis + 1..].fill(0);
    }
}

fn copy_chunk(from: &Dataset, to: &Dataset, at: &[u64]) -> H5Result<()> {
    let (mut mask, mut address, mut size) = (0u32, 0u64, 0u64);
    // SAFETY: one coordinate per dimension; the pointers are valid.
    let found = hdf5::sync::sync(|| unsafe {
        h5d::H5Dget_chunk_info_by_coord(from.id(), at.as_ptr(), &mut mask, &mut address, &mut size)
    });
    hdf5::h5check(found)?;
    if size == 0 {
        return Ok(()); // never written: reads as the fill value in the copy too
    }
    let bytes = usize::try_from(size).map_err(|_| hdf5::Error::Internal("a chunk larger than memory".into()))?;
    let mut buffer = vec![0u8; bytes];
    let default = h5p::H5P_DEFAULT;
    // SAFETY: the buffer has the size of the chunk as told above.
    let read = hdf5::sync::sync(|| unsafe {
        h5d::H5Dread_chunk1(from.id(), default, at.as_ptr(), &mut mask, buffer.as_mut_ptr().cast())
    });
    hdf5::h5check(read)?;
    // SAFETY: the buffer holds `bytes` bytes.
    let write = hdf5::sync::sync(|| unsafe {
        h5d::H5Dwrite_chunk(to.id(), default, mask, at.as_ptr(), bytes, buffer.as_ptr().cast())
    });
    hdf5::h5check(write).map(drop)
}

fn copy_slabs(from: &Dataset, to: &Dataset, dtype: &Datatype, shape: &[usize]) -> H5Result<()> {
    const BYTES_MAX: usize = 64 << 20; // what rank 0 holds at a time
    let row_bytes = shape.iter().skip(1).product::<usize>() * dtype.size();
    let rows = shape.first().copied().unwrap_or(1);
    let step = (BYTES_MAX / row_bytes.max(1)).clamp(1, rows.max(1));
    for first in (0..rows).step_by(step) {
        let mut slab = Slab::all(shape);
        if !shape.is_empty() {
            (slab.start[0], slab.count[0]) = (first, step.min(rows - first));
        }
        let mut bytes = vec![0u8; slab.len() * dtype.size()];
        h5::read(from, dtype, &slab, &mut bytes)?;
        h5::write(to, dtype, &slab, &bytes, Transfer::Independent)?;
    }
    Ok(())
}

/// Whether values of this type point into a heap of the file (sequences, texts of variable length).
fn has_heap_data(dtype: &Datatype) -> H5Result<bool> {
    let detect = |class| {
        // SAFETY: the id is alive.
        hdf5::h5check(hdf5::sync::sync(|| unsafe { h5t::H5Tdetect_class(dtype.id(), class) })).map(|found| found > 0)
    };
    // A text of variable length is of class string, not sequence; only at top level is it told from one of fixed length.
    // SAFETY: the id is alive.
    let (class, varies) =
        hdf5::sync::sync(|| unsafe { (h5t::H5Tget_class(dtype.id()), h5t::H5Tis_variable_str(dtype.id())) });
    let text = if class == h5t::H5T_class_t::H5T_STRING { varies > 0 } else { detect(h5t::H5T_class_t::H5T_STRING)? };
    Ok(text || detect(h5t::H5T_class_t::H5T_VLEN)?)
}

/// A copy of a type that is not tied to a file.
pub(crate) fn free_copy(dtype: &Datatype) -> H5Result<Datatype> {
    // SAFETY: the new id is owned by the returned handle.
    hdf5::sync::sync(|| unsafe { hdf5::from_id(hdf5::h5check(h5t::H5Tcopy(dtype.id()))?) })
}

/// Creates an attribute like `old` and copies its values, unless they hold references.
pub(crate) fn copy_attribute(old: &Attribute, to: &Location, name: &str, dtype: &Datatype) -> H5Result<()> {
    let (space, plist, name) = (old.space()?, old.acpl()?, h5::c_string(name)?);
    let new: Attribute = hdf5::sync::sync(|| {
        // SAFETY: all ids are alive; the name ends with NUL; the new id is owned by the handle.
        unsafe {
            let (type_id, default) = (dtype.id(), h5p::H5P_DEFAULT);
            let id = h5a::H5Acreate2(to.id(), name.as_ptr(), type_id, space.id(), plist.id(), default);
            hdf5::from_id(hdf5::h5check(id)?)
        }
    })?;
    if old.size() == 0 || space.is_null() || holds_references(dtype)? {
        return Ok(());
    }
    transfer(old, &new, |_, _| Ok(()))
}

/// Whether values of this type lead to objects of their file.
pub(crate) fn holds_references(dtype: &Datatype) -> H5Result<bool> {
    // SAFETY: the id is alive.
    let found = hdf5::sync::sync(|| unsafe { h5t::H5Tdetect_class(dtype.id(), h5t::H5T_class_t::H5T_REFERENCE) });
    Ok(hdf5::h5check(found)? > 0)
}

/// Rewrites an attribute or dataset that holds references with the new addresses.
pub(crate) fn translate(from: &Container, to: &Container, addresses: &BTreeMap<u64, u64>) -> H5Result<()> {
    if from.size() == 0 || from.space()?.is_null() || !holds_references(&from.dtype()?)? {
        return Ok(());
    }
    transfer(from, to, |dtype, bytes| translate_bytes(dtype, bytes, addresses))
}

/// Reads all values of an attribute or dataset, changes them in memory, writes them, frees what the library allocated.
fn transfer(
    from: &Container,
    to: &Container,
    change: impl FnOnce(&Datatype, &mut [u8]) -> H5Result<()>,
) -> H5Result<()> {
    let (dtype, space) = (from.dtype()?, from.space()?);
    let mut bytes = vec![0u8; dtype.size() * from.size()];
    let buffer = bytes.as_mut_ptr().cast();
    let (all, plist) = (h5s::H5S_ALL, h5p::H5P_DEFAULT);
    let is_attribute = from.id_type() == H5I_type_t::H5I_ATTR;
    hdf5::sync::sync(|| {
        // SAFETY: the buffer holds all values in the memory layout of `dtype`.
        hdf5::h5check(unsafe {
            if is_attribute {
                h5a::H5Aread(from.id(), dtype.id(), buffer)
            } else {
                h5d::H5Dread(from.id(), dtype.id(), all, all, plist, buffer)
            }
        })
    })?;
    let changed = change(&dtype, &mut bytes);
    let buffer = bytes.as_mut_ptr();
    let written = changed.and_then(|()| {
        // SAFETY: as above.
        let status = hdf5::sync::sync(|| unsafe {
            if is_attribute {
                h5a::H5Awrite(to.id(), dtype.id(), buffer.cast())
            } else {
                h5d::H5Dwrite(to.id(), dtype.id(), all, all, plist, buffer.cast())
            }
        });
        hdf5::h5check(status)
    });
    // SAFETY: the buffer was filled by the library for this type and space and is not used afterwards.
    let freed = hdf5::sync::sync(|| unsafe { h5d::H5Dvlen_reclaim(dtype.id(), space.id(), plist, buffer.cast()) });
    written.and(hdf5::h5check(freed)).map(drop)
}

/// Replaces every object reference inside values of this type.
fn translate_bytes(dtype: &Datatype, bytes: &mut [u8], addresses: &BTreeMap<u64, u64>) -> H5Result<()> {
    use h5t::H5T_class_t as Class;
    let id = dtype.id();
    // SAFETY: the id is alive.
    match hdf5::sync::sync(|| unsafe { h5t::H5Tget_class(id) }) {
        Class::H5T_REFERENCE => {
            if *dtype != Datatype::from_descriptor(&TypeDescriptor::Reference(Reference::Object))? {
                return Err(hdf5::Error::Internal("references to parts of datasets cannot be kept".into()));
            }
            for reference in bytes.chunks_exact_mut(8) {
                let old = u64::from_ne_bytes(reference.try_into().expect("8 bytes"));
                // Null and dangling references become null.
                reference.copy_from_slice(&addresses.get(&old).copied().unwrap_or(0).to_ne_bytes());
            }
            Ok(())
        }
        Class::H5T_VLEN => {
            let base = base_type(id)?;
            for item in bytes.chunks_exact_mut(size_of::<hvl_t>()) {
                let sequence: hvl_t = sequence_at(item);
                if sequence.len > 0 && !sequence.p.is_null() {
                    // SAFETY: the library allocated `len` values of the base type at `p`, and nobody else holds them.
                    let inner =
                        unsafe { std::slice::from_raw_parts_mut(sequence.p.cast::<u8>(), sequence.len * base.size()) };
                    translate_bytes(&base, inner, addresses)?;
                }
            }
            Ok(())
        }
        Class::H5T_ARRAY => translate_bytes(&base_type(id)?, bytes, addresses),
        Class::H5T_COMPOUND => translate_members(dtype, bytes, addresses),
        _ => Ok(()),
    }
}

fn translate_members(dtype: &Datatype, bytes: &mut [u8], addresses: &BTreeMap<u64, u64>) -> H5Result<()> {
    let id = dtype.id();
    // SAFETY: the id is alive and of class compound.
    let n = hdf5::h5check(hdf5::sync::sync(|| unsafe { h5t::H5Tget_nmembers(id) }))?;
    for index in 0..u32::try_from(n).unwrap_or(0) {
        // SAFETY: the member exists; the new type id is owned by the handle.
        let (member, offset): (Datatype, usize) = hdf5::sync::sync(|| unsafe {
            let member = hdf5::from_id(hdf5::h5check(h5t::H5Tget_member_type(id, index))?)?;
            Ok::<_, hdf5::Error>((member, h5t::H5Tget_member_offset(id, index)))
        })?;
        for value in bytes.chunks_exact_mut(dtype.size()) {
            translate_bytes(&member, &mut value[offset..offset + member.size()], addresses)?;
        }
    }
    Ok(())
}

fn base_type(id: hid_t) -> H5Result<Datatype> {
    // SAFETY: the id is alive and of a class with a base; the new id is owned by the handle.
    hdf5::sync::sync(|| unsafe { hdf5::from_id(hdf5::h5check(h5t::H5Tget_super(id))?) })
}

/// A sequence as the library keeps it in memory.
fn sequence_at(item: &[u8]) -> hvl_t {
    // SAFETY: the slice has the size of the struct, which is plain data.
    unsafe { item.as_ptr().cast::<hvl_t>().read_unaligned() }
}
