"""Makes tests/data/archive/{rich.nc,rich.h5,classic.nc,linked.h5,linked_source.h5}: small files with everything an archive must give back.

    python3 scripts/reference/archive_files.py        (needs numpy, h5py, netCDF4)

rich.nc     NetCDF-4: groups, user types (compound, enum, sequence), strings, characters, packed and unlimited variables,
            deflate, chunking, big-endian data, a variable that has the name of a dimension without being its coordinate,
            and one with more than eight attributes (HDF5 keeps those in another structure).
rich.h5     plain HDF5 in its oldest format: object references, hard, soft and external links, a committed type, booleans,
            texts of fixed and variable length, compact, chunked and filtered data, attributes of many kinds, tracked times.
classic.nc  NetCDF classic: characters, an empty text, fill values in the middle of the attributes, record variables,
            dimensions in other orders than (t, z, y, x).
linked.h5   virtual datasets and an external link, all into linked_source.h5 beside it.
"""

import pathlib

import h5py
import netCDF4
import numpy as np

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "tests" / "data" / "archive"


def wave(*shape):
    """Smooth reproducible numbers in [-1, 1]."""
    return np.sin(np.arange(np.prod(shape)) * 0.37).reshape(shape)


def rich_netcdf(path):
    f = netCDF4.Dataset(path, "w")
    f.title = "everything"
    f.setncattr("versions", np.array([1, 2, 3], "i8"))
    f.setncattr_string("authors", ["Ada", "Émilie"])
    f.createDimension("time", None)
    f.createDimension("y", 5)
    f.createDimension("x", 7)
    f.createDimension("letters", 4)
    point = f.createCompoundType(np.dtype([("u", "f4"), ("n", "i2")]), "point")
    color = f.createEnumType("u1", "color", {"red": 0, "green": 1})
    ragged = f.createVLType("i4", "ragged")
    time = f.createVariable("time", "f8", ("time",), chunksizes=(6,))
    time.units = "hours since 2000-01-01"
    x = f.createVariable("x", "f4", ("x",))
    x.axis = "X"
    x[:] = np.arange(7)
    # Named like the dimension y, but no coordinate of it.
    f.createVariable("y", "f4", ("y", "x"))[:] = wave(5, 7)
    packed = f.createVariable("packed", "i2", ("time", "y", "x"), fill_value=-999, zlib=True, chunksizes=(1, 5, 7))
    packed.set_auto_maskandscale(False)
    packed.scale_factor = np.float32(0.01)
    packed.add_offset = 1.5
    packed.units = "K"
    for i in range(10):
        packed.setncattr(f"note_{i}", f"attribute {i}")
    values = (wave(6, 5, 7) * 1000).astype("i2")
    values[2, 3, :] = -999
    packed[:] = values
    time[:] = np.arange(6)
    # Along the unlimited dimension there are steps that this one does not have on disk.
    brief = f.createVariable("brief", "f4", ("time", "y", "x"), chunksizes=(1, 5, 7))
    brief[:2] = wave(2, 5, 7)
    f.createVariable("big", ">f8", ("y", "x"), endian="big")[:] = wave(5, 7)
    f.createVariable("points", point, ("x",))[:] = np.array([(i, -i) for i in range(7)], point.dtype)
    f.createVariable("colors", color, ("x",))[:] = np.arange(7) % 2
    rows = f.createVariable("rows", ragged, ("y",))
    for i in range(5):
        rows[i] = np.arange(i + 1, dtype="i4")
    f.createVariable("names", str, ("y",))[:] = np.array(["a", "", "ccc", "Δ", "e"], object)
    f.createVariable("text", "S1", ("letters",))[:] = np.array(list("abcd"), "S1")
    group = f.createGroup("inner")
    group.comment = "a group"
    group.createDimension("z", 3)
    v = group.createVariable("v", "f4", ("time", "z", "y", "x"), fletcher32=True, shuffle=True, zlib=True,
                             chunksizes=(2, 3, 5, 7))
    v.units = "m s-1"
    v.missing_value = np.array([1e20, -1e20], "f4")
    v[:] = wave(6, 3, 5, 7)
    group.createGroup("deeper").createVariable("scalar", "i8", ())[:] = 42
    f.close()


def rich_hdf5(path):
    f = h5py.File(path, "w", libver="earliest")
    f.attrs["note"] = "plain HDF5"
    f.attrs.create("fixed", np.bytes_("fixed text"))
    f.attrs["flags"] = np.array([True, False])
    f.attrs["pair"] = np.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")])
    f.attrs["nothing"] = h5py.Empty("f4")
    u = f.create_dataset("u", data=wave(8, 6, 5).astype("f4"), chunks=(2, 6, 5), compression=4, maxshape=(None, 6, 5))
    u.attrs["units"] = "m"
    u.attrs["matrix"] = np.arange(6, dtype="u2").reshape(2, 3)
    data = f.create_group("data")
    data.create_dataset("p", data=wave(9, 8).astype(">f8"), track_times=True)
    data.create_dataset("count", data=np.arange(80, dtype="u4").reshape(10, 8))
    data.create_dataset("compact", data=np.arange(3, dtype="i1"))
    data["again"] = f["u"]
    data["up"] = data
    f["soft"] = h5py.SoftLink("/data/p")
    f["gone"] = h5py.SoftLink("/nowhere")
    f["outside"] = h5py.ExternalLink("other.h5", "/a/b")
    f["kind"] = np.dtype([("x", "f4"), ("y", "f4")])
    f.create_dataset("typed", shape=(3,), dtype=f["kind"])
    f["typed"][...] = np.array([(1, 2), (3, 4), (5, 6)], dtype=f["kind"].dtype)
    f.create_dataset("words", data=np.array(["eins", "zwei", ""], dtype=h5py.string_dtype()))
    f.create_dataset("bools", data=np.arange(5) % 2 == 0)
    sequences = f.create_dataset("sequences", (2,), dtype=h5py.vlen_dtype("i2"))
    sequences[0] = [1, 2]
    sequences[1] = [3]
    f.create_dataset("references", (3,), dtype=h5py.ref_dtype)
    f["references"][:2] = np.array([f["u"].ref, data.ref], dtype=h5py.ref_dtype)
    u.attrs["sibling"] = data["p"].ref
    f.create_dataset("unwritten", (4, 4), "f4")
    sparse = f.create_dataset("sparse", (64, 64), "i2", chunks=(16, 16))
    sparse[:8, :8] = 7
    sparse.attrs["_FillValue"] = np.int16(7)
    sparse.attrs["scale_factor"] = 0.1
    f.close()


def classic(path):
    f = netCDF4.Dataset(path, "w", format="NETCDF3_CLASSIC")
    f.history = "made by a test"
    f.createDimension("t", None)
    f.createDimension("lat", 4)
    f.createDimension("lon", 6)
    f.createDimension("n", 3)
    f.createDimension("lev", 3)
    t = f.createVariable("t", "f8", ("t",))
    t.units = "days since 1999-12-31"
    f.createVariable("lat", "f4", ("lat",))[:] = np.arange(4)
    a = f.createVariable("a", "i2", ("t", "lat", "lon"), fill_value=-1)
    a.set_auto_maskandscale(False)
    a.long_name = "packed"
    a.units = ""
    a.scale_factor = 0.5
    a.missing_value = np.array([7, 8], "i2")
    values = (wave(5, 4, 6) * 100).astype("i2")
    values[1, 2, :3] = [-1, 7, 8]
    a[:] = values
    b = f.createVariable("b", "f4", ("lon", "lat", "n"))
    b[:] = wave(6, 4, 3)
    c = f.createVariable("c", "i1", ("t", "n"))
    c[:] = np.arange(15).reshape(5, 3)
    # Every dimension has a direction, none is where it is in (t, z, y, x).
    d = f.createVariable("d", "i4", ("lon", "lev", "lat"))
    d[:] = np.arange(72).reshape(6, 3, 4) * 1000003
    e = f.createVariable("e", "f8", ("t", "lon", "lat", "lev"))
    e[:] = wave(5, 6, 4, 3)
    label = f.createVariable("label", "S1", ("n",))
    label[:] = np.array(list("xyz"), "S1")
    label.setncattr("_FillValuX", "-\0")
    t[:] = np.arange(5) * 0.5
    f.close()
    # Old files have fill values that the library no longer writes: here two characters.
    path.write_bytes(path.read_bytes().replace(b"_FillValuX", b"_FillValue"))


def linked(path, source):
    with h5py.File(source, "w", libver="earliest") as f:
        f["first"] = wave(3, 5, 8).astype("f4")
        f["second"] = (wave(3, 5, 8) + 2).astype("f4")
        f["few"] = np.arange(4, dtype="i4")
    with h5py.File(path, "w", libver="earliest") as f:
        layout = h5py.VirtualLayout(shape=(7, 5, 8), dtype="f4")
        layout[:3] = h5py.VirtualSource(source.name, "first", shape=(3, 5, 8))
        layout[3:6] = h5py.VirtualSource(source.name, "second", shape=(3, 5, 8))
        # Nothing is behind the last step: the fill value.
        f.create_virtual_dataset("group/joined", layout, fillvalue=-1)
        layout = h5py.VirtualLayout(shape=(4,), dtype="i4")
        layout[:] = h5py.VirtualSource(source.name, "few", shape=(4,))
        f.create_virtual_dataset("few", layout)
        f["elsewhere"] = h5py.ExternalLink(source.name, "/second")
        f["pairs"] = np.array([(i, i / 2, b"ab") for i in range(80)], dtype=[("n", "i2"), ("x", ">f8"), ("c", "S3")])


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    rich_netcdf(FOLDER / "rich.nc")
    rich_hdf5(FOLDER / "rich.h5")
    classic(FOLDER / "classic.nc")
    linked(FOLDER / "linked.h5", FOLDER / "linked_source.h5")
    for path in sorted(FOLDER.iterdir()):
        print(path.name, path.stat().st_size)
