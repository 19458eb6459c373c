//! Files of every kind through whole jobs: what comes back is the file, with every value within its bound and what is
//! missing bit for bit.

use std::path::{Path, PathBuf};
use std::process::Command;

use hdf5::filters::SZip;
use hdf5::types::{Reference, TypeDescriptor};
use sci_hpc::archive::{Source, Values};

use super::process::{folder, mpirun, sci_hpc, write};

const BOUND_REL: f64 = 1e-3;

fn job(inputs: &str) -> String {
    format!(
        "job: {{name: readers, output: out}}\ndata: {{inputs: [{inputs}]}}\ncompress: {{error_bound: {{rel: {BOUND_REL}}}}}\n\
         decompress: {{}}\n"
    )
}

/// A program of the NetCDF or HDF5 utilities; its standard output.
fn tool(folder: &Path, program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(folder).output();
    let output = output.unwrap_or_else(|_| panic!("{program} is installed (netcdf-bin, hdf5-tools)"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// `n` numbers of a wave as text; `special` gives those that are something else.
fn list(n: usize, amplitude: f64, special: impl Fn(usize) -> Option<&'static str>) -> String {
    let number = |i: usize| format!("{:.0}", amplitude * ((i as f64 * 0.11).sin() + 0.3 * (i as f64 * 0.037).cos()));
    (0..n).map(|i| special(i).map_or_else(|| number(i), String::from)).collect::<Vec<_>>().join(", ")
}

/// Staggered variables, each on its own grid; 2D and 3D ones, each with its own mask; packed integers; several ways to say
/// that a value is missing; texts and numbers that are no fields.
fn everything() -> String {
    let temp = list(4 * 3 * 6 * 8, 3000.0, |i| match i % 48 {
        0..9 => Some("_"),
        20 => Some("-1"),
        21 => Some("-2"),
        _ => None,
    });
    let u = list(4 * 3 * 6 * 9, 40.0, |i| [Some("99"), Some("_")].get(i % 31).copied().flatten());
    let w = list(4 * 4 * 6 * 8, 7.0, |_| None);
    let surface = list(4 * 6 * 8, 500.0, |i| (i % 48 > 40).then_some("_"));
    let height = list(72, 100.0, |i| (i % 12 == 3).then_some("_"));
    format!(
        "netcdf everything {{ dimensions: time = unlimited; z = 3; zi = 4; y = 6; x = 8; xi = 9; land = 12; letters = 4;\n\
         variables:\n double time(time); time:units = \"hours since 2000-01-01\";\n\
         short temp(time, z, y, x); temp:scale_factor = 0.01; temp:add_offset = 20.; temp:_FillValue = -32768s;\n\
         temp:missing_value = -1s, -2s; temp:units = \"degC\";\n\
         float u(time, z, y, xi); u:valid_range = -60.f, 60.f; u:_FillValue = 1.e20f;\n\
         double w(time, zi, y, x);\n float surface(time, y, x); surface:_FillValue = -999.f;\n\
         int height(y, land); height:_FillValue = -5;\n char label(time, letters);\n short count(time);\n\
         :title = \"everything\"; :numbers = 1.5, 2.5;\n\
         data: time = 0, 1, 2, 3; temp = {temp}; u = {u}; w = {w}; surface = {surface}; height = {height};\n\
         label = \"ab\", \"cd\", \"efgh\", \"\"; count = 1, 2, 3, 4; }}"
    )
}

/// Asserts that a field came back: missing values bit for bit, the others within the bound, in stored units.
#[track_caller]
fn assert_restored(name: &str, original: &Values, restored: &Values, missing: impl Fn(f64) -> bool) {
    let (old, new) = (original.to_f64(), restored.to_f64());
    assert_eq!((original.element(), old.len()), (restored.element(), new.len()), "{name}");
    let (low, high) =
        old.iter().filter(|&&x| !missing(x)).fold((f64::MAX, f64::MIN), |(l, h), &x| (l.min(x), h.max(x)));
    let bound = BOUND_REL * (high - low) * (1.0 + 1e-9);
    let mut exact = 0;
    for (i, (x, y)) in old.iter().zip(&new).enumerate() {
        let fits = if missing(*x) { x.to_bits() == y.to_bits() } else { (x - y).abs() <= bound };
        assert!(fits, "{name}[{i}]: {x} came back as {y}, bound {bound}");
        exact += usize::from(missing(*x));
    }
    assert!(exact < old.len(), "{name} has values");
}

#[test]
fn netcdf_of_every_kind_comes_back_with_its_masks_grids_and_texts() {
    let here = folder("readers-netcdf");
    write(&here, "everything.cdl", &everything());
    let kinds = ["classic", "64-bit offset", "cdf5", "netCDF-4"];
    for (i, kind) in kinds.iter().enumerate() {
        let name = format!("f{i}.nc");
        tool(&here, "ncgen", &["-k", if i == 3 { "nc4" } else { kind }, "-o", &name, "everything.cdl"]);
        assert_eq!(tool(&here, "ncdump", &["-k", &name]).trim(), *kind);
    }
    write(&here, "job.yaml", &job("'f*.nc'"));
    mpirun(&here, 2, "", &["--config", "job.yaml"]).answer();
    let metrics: serde_json::Value =
        serde_json::from_slice(&std::fs::read(here.join("out/metrics.json")).unwrap()).unwrap();
    let coded: Vec<&String> = metrics["compress"]["variables"].as_object().unwrap().keys().collect();
    assert_eq!(coded, ["height", "surface", "temp", "u", "w"]);
    for i in 0..kinds.len() {
        let (old, new) = (here.join(format!("f{i}.nc")), here.join(format!("out/decompressed/f{i}.nc")));
        for arguments in [&["-k"][..], &["-h"], &["-v", "time,label,count"]] {
            let dump = |path: &Path| tool(&here, "ncdump", &[arguments, &["-n", "f", path.to_str().unwrap()]].concat());
            assert_eq!(dump(&new), dump(&old), "{} {arguments:?}", kinds[i]);
        }
        let (old, new) = (Source::open(&old).unwrap(), Source::open(&new).unwrap());
        let read = |name: &str| (old.read_all(name).unwrap().1, new.read_all(name).unwrap().1);
        for (name, missing) in [
            ("temp", &(|x: f64| [-32768.0, -1.0, -2.0].contains(&x)) as &dyn Fn(f64) -> bool),
            ("u", &|x: f64| x.abs() > 60.0),
            ("w", &|_| false),
            ("surface", &|x: f64| x == -999.0),
            ("height", &|x: f64| x == -5.0),
        ] {
            let (a, b) = read(name);
            assert_restored(&format!("{} {name}", kinds[i]), &a, &b, missing);
        }
    }
}

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/archive").join(name)
}

#[test]
fn virtual_datasets_links_and_compounds_come_back_with_what_is_behind_them() {
    let here = folder("readers-linked");
    for name in ["linked.h5", "linked_source.h5"] {
        std::fs::copy(shipped(name), here.join(name)).unwrap();
    }
    write(&here, "job.yaml", &job("linked.h5"));
    let run = mpirun(&here, 2, "", &["--config", "job.yaml"]);
    run.answer();
    assert!(run.stderr.contains("`elsewhere` stays a link to linked_source.h5"), "{}", run.stderr);
    // What was virtual is in the file.
    std::fs::create_dir(here.join("alone")).unwrap();
    std::fs::copy(here.join("out/decompressed/linked.h5"), here.join("alone/linked.h5")).unwrap();
    let open = |path: &str| hdf5::File::open(here.join(path)).unwrap();
    let (old, new) = (open("linked.h5"), open("alone/linked.h5"));
    let field = |file: &hdf5::File| file.dataset("group/joined").unwrap().read_raw::<f32>().unwrap();
    let (a, b) = (field(&old), field(&new));
    assert_eq!(a[240..], [-1.0; 40], "nothing is behind the last step");
    assert_restored("joined", &Values::F32(a), &Values::F32(b), |_| false);
    let few = |file: &hdf5::File| file.dataset("few").unwrap().read_raw::<i32>().unwrap();
    assert_eq!((few(&old), few(&new)), (vec![0, 1, 2, 3], vec![0, 1, 2, 3]));
    assert!(new.link_exists("elsewhere") && new.dataset("elsewhere").is_err());
    std::fs::copy(here.join("linked_source.h5"), here.join("alone/linked_source.h5")).unwrap();
    assert_eq!(new.dataset("elsewhere").unwrap().shape(), [3, 5, 8], "the link leads where it did");
    let compound = |file: &hdf5::File| {
        let dataset = file.dataset("pairs").unwrap();
        (dataset.dtype().unwrap().to_descriptor().unwrap(), dataset.shape(), dataset.storage_size())
    };
    assert_eq!(compound(&old), compound(&new));
    let dump = |path: &str| tool(&here, "h5dump", &["-d", "/pairs", "-y", "-o", "/dev/stdout", path]);
    let values = |path: &str| dump(path).split_once("DATASET").unwrap().1.to_string();
    assert_eq!(values("linked.h5"), values("alone/linked.h5"));
}

#[test]
fn growing_virtual_dataset_comes_back_as_one_that_can_grow() {
    let here = folder("readers-growing");
    let part = hdf5::File::create(here.join("part.h5")).unwrap();
    part.new_dataset_builder().with_data(&wave()).create("frames").unwrap();
    let file = hdf5::File::create(here.join("growing.h5")).unwrap();
    let builder = file.new_dataset::<f32>().shape((6.., 5, 8));
    builder.virtual_map("part.h5", "frames", (6, 5, 8), .., (6.., 5, 8), ..).create("frames").unwrap();
    drop((part, file));
    write(&here, "job.yaml", &job("growing.h5"));
    sci_hpc(&here, &["--config", "job.yaml"]).answer();
    let open = |path: &str| hdf5::File::open(here.join(path)).unwrap().dataset("frames").unwrap();
    let (old, new) = (open("growing.h5"), open("out/decompressed/growing.h5"));
    assert!(new.is_resizable() && new.is_chunked() && new.shape() == [6, 5, 8]);
    let values = |dataset: &hdf5::Dataset| Values::F32(dataset.read_raw().unwrap());
    assert_restored("frames", &values(&old), &values(&new), |_| false);
}

#[test]
fn dataset_behind_an_external_link_is_brought_in_where_it_is_asked_for() {
    let here = folder("readers-elsewhere");
    let source = hdf5::File::create(here.join("data_000001.h5")).unwrap();
    source.new_dataset_builder().with_data(&wave()).chunk((1, 5, 8)).deflate(3).create("frames").unwrap();
    let frames = source.dataset("frames").unwrap();
    let reference: hdf5::ObjectReference1 = source.reference("frames").unwrap();
    frames.new_attr_builder().with_data(&[reference]).create("self").unwrap();
    frames.new_attr::<i32>().create("count").unwrap().write_scalar(&6).unwrap();
    let master = hdf5::File::create(here.join("master.h5")).unwrap();
    // At the same address there: which object is meant is told by the path, not by the address alone.
    master.new_dataset_builder().with_data(&wave()).chunk((1, 5, 8)).deflate(3).create("own").unwrap();
    let entry = master.create_group("entry").unwrap();
    entry.link_external("data_000001.h5", "/frames", "first").unwrap();
    entry.link_external("data_000002.h5", "/frames", "second").unwrap();
    entry.link_hard("/own", "again").unwrap();
    drop((frames, source, entry, master));
    write(&here, "job.yaml", &job("master.h5"));
    let refused = |variable: &str, words: &[&str]| {
        let set = format!("data.variables=[{variable}]");
        sci_hpc(&here, &["--config", "job.yaml", "--set", &set]).refused(3, words);
    };
    refused("entry/second", &["a link to `/frames` in data_000002.h5, and there is no such dataset"]);
    refused("entry/again", &["`entry/again` is another name of `own`"]);
    let set = "data.variables=[entry/first]";
    let run = mpirun(&here, 2, "", &["--config", "job.yaml", "--set", set]);
    run.answer();
    assert!(run.stderr.contains("`entry/second` stays a link to data_000002.h5"), "{}", run.stderr);
    std::fs::remove_file(here.join("data_000001.h5")).unwrap();
    let new = hdf5::File::open(here.join("out/decompressed/master.h5")).unwrap();
    let first = new.dataset("entry/first").unwrap();
    assert_eq!(first.attr_names().unwrap(), ["count"]);
    assert_restored("first", &wave_values(), &Values::F32(first.read_raw::<f32>().unwrap()), |_| false);
    assert_eq!(Values::F32(new.dataset("own").unwrap().read_raw::<f32>().unwrap()), wave_values());
    assert!(new.group("entry").unwrap().link_exists("second"));
}

fn wave_values() -> Values {
    Values::F32(wave().iter().copied().collect())
}

/// Numbers of a wave, (6, 5, 8).
fn wave() -> ndarray::Array3<f32> {
    ndarray::Array3::from_shape_fn((6, 5, 8), |(t, y, x)| ((t * 40 + y * 8 + x) as f32 * 0.13).sin())
}

#[test]
fn filters_and_external_storage_are_read_and_what_is_not_coded_keeps_them() {
    let here = folder("readers-filters");
    let file = hdf5::File::create(here.join("filters.h5")).unwrap();
    let small = ndarray::Array1::from_iter(0..32i32);
    let mut names = vec!["plain"];
    let dataset = || file.new_dataset_builder();
    dataset().with_data(&wave()).create("plain").unwrap();
    dataset().with_data(&wave()).chunk((2, 5, 8)).shuffle().deflate(6).fletcher32().create("deflate").unwrap();
    dataset().with_data(&small).chunk(8).shuffle().deflate(6).fletcher32().create("few deflate").unwrap();
    names.push("deflate");
    if hdf5::filters::szip_available() {
        dataset().with_data(&wave()).chunk((2, 5, 8)).szip(SZip::NearestNeighbor, 8).create("szip").unwrap();
        dataset().with_data(&small).chunk(8).szip(SZip::NearestNeighbor, 8).create("few szip").unwrap();
        names.push("szip");
    } else {
        eprintln!("SKIPPED: this HDF5 library has no szip");
    }
    let bytes: Vec<u8> = wave().iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(here.join("values.raw"), bytes).unwrap();
    let raw = here.join("values.raw");
    let external = dataset().external(raw.to_str().unwrap(), 0, 960).empty::<f32>();
    external.shape((6, 5, 8)).create("external").unwrap();
    names.push("external");
    file.close().unwrap();
    write(&here, "job.yaml", &job("filters.h5"));
    mpirun(&here, 2, "", &["--config", "job.yaml"]).answer();
    // What lay in another file is in this one now.
    std::fs::remove_file(raw).unwrap();
    let new = hdf5::File::open(here.join("out/decompressed/filters.h5")).unwrap();
    for name in names {
        let values = new.dataset(name).unwrap().read_raw::<f32>().unwrap();
        assert_restored(name, &wave_values(), &Values::F32(values), |_| false);
    }
    for name in ["few deflate", "few szip"].into_iter().filter(|name| new.link_exists(name)) {
        let dataset = new.dataset(name).unwrap();
        assert_eq!(dataset.read_raw::<i32>().unwrap(), (0..32).collect::<Vec<_>>(), "{name}");
        assert!(!dataset.filters().is_empty(), "{name} is stored as it was");
    }
}

#[test]
fn filter_that_the_library_lacks_is_named_and_the_file_left_out_where_the_job_says_so() {
    let here = folder("readers-missing-filter");
    let path = here.join("odd.h5");
    let file = hdf5::File::create(&path).unwrap();
    file.new_dataset_builder().with_data(&wave()).chunk((2, 5, 8)).deflate(6).create("u").unwrap();
    file.new_dataset_builder().with_data(&wave()).create("v").unwrap();
    file.close().unwrap();
    // The header names filter 1, deflate: number, length of the name, flags, number of values, name (little-endian u16).
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(8).position(|window| window == b"deflate\0").unwrap() - 8;
    assert_eq!(bytes[at..at + 2], [1, 0]);
    bytes[at..at + 2].copy_from_slice(&32013u16.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    std::fs::write(here.join("values.f32.nc"), std::fs::read(shipped("classic.nc")).unwrap()).unwrap();
    write(&here, "job.yaml", &job("odd.h5, values.f32.nc"));
    let words = ["odd.h5", "`u`", "filter 32013", "HDF5_PLUGIN_PATH", "h5repack -f NONE"];
    mpirun(&here, 2, "", &["--config", "job.yaml"]).refused(3, &words);
    assert!(!here.join("out").exists());
    let skip = ["--config", "job.yaml", "--set", "data.on_bad_file=skip"];
    mpirun(&here, 2, "", &skip).refused(3, &["filter 32013", "1 could not be read"]);
    assert!(here.join("out/decompressed/values.f32.nc").is_file());
    sci_hpc(&here, &["inspect", "odd.h5"]).answer();
    // What is not coded is carried along as it is stored.
    let others = ["--config", "job.yaml", "--fresh", "--set", "data.inputs=[odd.h5]", "--set", "data.variables=[v]"];
    mpirun(&here, 2, "", &others).answer();
    let chunks = |name: &str| {
        let (file, bytes) = (hdf5::File::open(here.join(name)).unwrap(), std::fs::read(here.join(name)).unwrap());
        let dataset = file.dataset("u").unwrap();
        assert_eq!(dataset.filters().iter().map(hdf5::filters::Filter::id).collect::<Vec<_>>(), [32013]);
        let chunk = |i| {
            let chunk = dataset.chunk_info(i).unwrap();
            let (from, len) = (usize::try_from(chunk.addr).unwrap(), usize::try_from(chunk.size).unwrap());
            (chunk.offset, chunk.filter_mask, bytes[from..from + len].to_vec())
        };
        (0..dataset.num_chunks().unwrap()).map(chunk).collect::<Vec<_>>()
    };
    assert_eq!(chunks("odd.h5").len(), 3);
    assert_eq!(chunks("odd.h5"), chunks("out/decompressed/odd.h5"));
}

#[test]
fn values_that_are_not_there_and_ranges_beyond_numbers_are_refused_by_name() {
    let here = folder("readers-refused");
    let refused = |name: &str, words: &[&str]| {
        write(&here, "job.yaml", &job(name));
        sci_hpc(&here, &["--config", "job.yaml", "--fresh"]).refused(3, &[&[name], words].concat());
    };
    // A virtual dataset without its source: the library would read fill values.
    std::fs::copy(shipped("linked.h5"), here.join("linked.h5")).unwrap();
    refused("linked.h5", &["`group/joined` is a virtual dataset, and its file linked_source.h5 is not there"]);
    // 4 PB that nobody wrote.
    let file = hdf5::File::create(here.join("hollow.h5")).unwrap();
    file.new_dataset::<f32>().shape([100_000, 10_000, 10_000, 100]).chunk([1, 100, 100, 100]).create("u").unwrap();
    drop(file);
    refused("hollow.h5", &["`u` declares 4000000000000000 bytes, of which 0 are in the file"]);
    // A range that is no number.
    let file = hdf5::File::create(here.join("wide.h5")).unwrap();
    let wide = wave().mapv(|v| {
        if v > 0.9 {
            f64::MAX
        } else if v < -0.9 {
            f64::MIN
        } else {
            f64::from(v)
        }
    });
    file.new_dataset_builder().with_data(&wide).create("u").unwrap();
    drop(file);
    refused("wide.h5", &["`u` reaches from -1.797", "give compress.variables.u.error_bound {abs: ...}"]);
}

#[test]
fn variables_whose_names_are_long_or_look_alike_or_break_lines_come_back_with_their_figures() {
    let here = folder("readers-names");
    let deep = format!("{}u", "long/".repeat(80));
    let names = [deep.as_str(), "g_u", "g/u", "two\nlines"];
    let file = hdf5::File::create(here.join("names.h5")).unwrap();
    names.iter().for_each(|name| drop(file.new_dataset_builder().with_data(&wave()).create(*name).unwrap()));
    file.close().unwrap();
    write(&here, "job.yaml", &job("names.h5"));
    mpirun(&here, 2, "", &["--config", "job.yaml"]).answer();
    let restored = hdf5::File::open(here.join("out/decompressed/names.h5")).unwrap();
    for name in names {
        let values = restored.dataset(name).unwrap().read_raw::<f32>().unwrap();
        assert_restored(name, &wave_values(), &Values::F32(values), |_| false);
    }
    for (kind, before, behind) in [("31-rate-", "distortion of ", "\""), ("32-slices-", "\"", " and its")] {
        let figures = std::fs::read_dir(here.join("out/figures")).unwrap().map(|entry| entry.unwrap().path());
        let of_kind = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(kind);
        let texts: Vec<String> = figures.filter(of_kind).map(|path| std::fs::read_to_string(path).unwrap()).collect();
        assert_eq!(texts.len(), names.len(), "{kind}");
        for name in names {
            let title = format!("{before}{}{behind}", name.escape_default());
            assert_eq!(texts.iter().filter(|text| text.contains(&title)).count(), 1, "{kind}{name}");
        }
    }
}

#[test]
fn what_an_archive_cannot_carry_is_named_and_the_rest_of_the_file_can_be_read() {
    let here = folder("readers-not-carried");
    let made = |name: &str, change: &dyn Fn(&hdf5::File)| {
        let file = hdf5::File::create(here.join(name)).unwrap();
        file.new_dataset_builder().with_data(&wave()).create("u").unwrap();
        change(&file);
        file.close().unwrap();
    };
    // A layout of version 9, as a newer library might write it; the header has none of the checksums of later formats.
    made("closed.h5", &|file| drop(file.new_dataset_builder().with_data(&wave()).create("v").unwrap()));
    let offset = hdf5::File::open(here.join("closed.h5")).unwrap().dataset("v").unwrap().offset().unwrap();
    let layout = [&[3, 1][..], &offset.to_le_bytes(), &960u64.to_le_bytes()].concat();
    patch(&here.join("closed.h5"), &layout, &[9]);
    made("name.h5", &|file| drop(file.new_dataset_builder().with_data(&wave()).create("vitesse").unwrap()));
    patch(&here.join("name.h5"), b"vitesse", b"vit\xe9sse");
    let parts = TypeDescriptor::Reference(Reference::Region);
    made("parts.h5", &|file| {
        file.create_group("g").unwrap();
        file.new_dataset_builder().empty_as(&parts).shape(2).create("g/parts").unwrap();
    });
    made("part.h5", &|file| {
        drop(file.dataset("u").unwrap().new_attr_builder().empty_as(&parts).create("part").unwrap());
    });
    for (name, words) in [
        ("closed.h5", ["`v` cannot be opened by HDF5 1.", "a newer library wrote it"]),
        ("name.h5", ["`vit\u{fffd}sse` is not UTF-8", "give it another"]),
        ("parts.h5", ["`g/parts`: references to parts of datasets cannot be kept", "without what is named"]),
        ("part.h5", ["attribute `part` of `u`: references to parts", "without what is named"]),
    ] {
        write(&here, "job.yaml", &job(name));
        for variables in ["all", "[u]"] {
            let set = format!("data.variables={variables}");
            let run = sci_hpc(&here, &["--config", "job.yaml", "--fresh", "--set", &set]);
            run.refused(3, &[&[name], &words[..]].concat());
        }
        let source = Source::open(&here.join(name)).unwrap();
        let hidden = ["closed.h5", "name.h5"].contains(&name);
        assert_eq!(source.select(None).is_err(), hidden, "{name}: nothing is passed over");
        assert!(source.select(Some(&["u".into()])).is_ok() && source.read_all("u").unwrap().1 == wave_values());
    }
    let closed = Source::open(&here.join("closed.h5")).unwrap().variable("v").unwrap_err().to_string();
    assert!(closed.contains("`v` cannot be opened by HDF5"), "{closed}");
}

/// Overwrites the beginning of the only place that holds `found`.
fn patch(path: &Path, found: &[u8], with: &[u8]) {
    let mut bytes = std::fs::read(path).unwrap();
    let places: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at..].starts_with(found)).collect();
    let [at] = places[..] else { panic!("{places:?}") };
    bytes[at..at + with.len()].copy_from_slice(with);
    std::fs::write(path, bytes).unwrap();
}
