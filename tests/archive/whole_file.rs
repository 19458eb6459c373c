//! Whole files through an archive: everything that is not coded comes back as it was. The streams hold the numbers as
//! they are, so that nothing but the archive is tested.

use std::path::{Path, PathBuf};
use std::process::Command;

use hdf5::types::TypeDescriptor;
use hdf5::{Container, Dataset, Datatype, File, Group, LinkType, Location, LocationType, ObjectReference1};
use sci_hpc::archive::{
    Archive, ArchiveError, ArchiveWriter, Box4, IndexRecord, Piece, Reading, Restorer, Source, Stored, Streams, Values,
    Variable,
};
use sci_hpc::world::World;

use crate::{data, scratch, scratch_alone};

/// The variable in boxes of two steps.
fn boxes(variable: &Variable) -> Vec<Box4> {
    let steps = variable.shape[0];
    (0..steps).step_by(2).map(|t| Box4::times(variable.shape, t..(t + 2).min(steps))).collect()
}

/// Archives a file: one group per field, one stream per box.
pub fn archive(input: &Path, path: &Path) -> PathBuf {
    archive_with(input, &Reading::default(), path)
}

/// The same, of a file that is read as the job says.
pub fn archive_with(input: &Path, reading: &Reading, path: &Path) -> PathBuf {
    let source = Source::open_with(input, reading).unwrap();
    let fields = source.select(None).unwrap();
    source.check_archivable(&fields).unwrap();
    let names: Vec<String> = fields.iter().map(|v| v.name.clone()).collect();
    let world = World::serial();
    let mut writer = ArchiveWriter::create(&world, path, &source, &names).unwrap();
    writer.put_text("note", "stored as it is").unwrap();
    for (g, variable) in fields.into_iter().enumerate() {
        let mut streams = Streams::new();
        for region in boxes(variable) {
            streams.push(&region, 0, 0, source.read(variable, &region).unwrap().values.bytes());
        }
        writer.write_group(&format!("group {g}"), streams).unwrap();
    }
    writer.finish().unwrap();
    path.into()
}

/// Gives the file of an archive back.
pub fn restore(archive: &Path, path: &Path) -> Result<(), ArchiveError> {
    let archive = Archive::open(archive)?;
    archive.text("note")?;
    let world = World::serial();
    let mut restorer = Restorer::create(&world, &archive, path)?;
    for (g, variable) in archive.coded().into_iter().enumerate() {
        let group = format!("group {g}");
        let piece = |record: &IndexRecord| {
            let region = record.region();
            let mut values = Values::zeros(variable.element, region.count());
            values.bytes_mut().copy_from_slice(&archive.read_stream(&group, record)?);
            Ok(Piece { region, values })
        };
        restorer.write(variable, archive.index(&group)?.iter().map(piece).collect::<Result<_, ArchiveError>>()?)?;
    }
    assert_eq!(restorer.finish()?, std::fs::metadata(path).unwrap().len());
    Ok(())
}

fn there_and_back(name: &str) -> (PathBuf, PathBuf, crate::Scratch) {
    // ncdump is a process of its own.
    let folder = scratch_alone(&format!("whole-{name}"));
    let restored = folder.join(name);
    restore(&archive(&data(name), &folder.join("a.sci.h5")), &restored).unwrap();
    let left = std::fs::read_dir(&*folder).unwrap().count();
    assert_eq!(left, 2, "nothing but the archive and the file");
    (data(name), restored, folder)
}

/// What `ncdump` makes of a file, header and all values.
fn dump(path: &Path) -> String {
    let output = Command::new("ncdump").arg("-k").arg(path).output().expect("ncdump is installed (netcdf-bin)");
    let kind = String::from_utf8(output.stdout).unwrap();
    let output = Command::new("ncdump").args(["-p", "9,17"]).arg(path).output().unwrap();
    assert!(output.status.success());
    kind + &String::from_utf8(output.stdout).unwrap()
}

#[test]
fn netcdf_files_come_back_whole() {
    for name in ["classic.nc", "rich.nc"] {
        let (original, restored, _folder) = there_and_back(name);
        let text = dump(&original);
        assert!(text.lines().count() > 50 && dump(&restored) == text, "{name}: ncdump tells them apart");
        // Every coded number, in the bits of the file.
        let (old, new) = (Source::open(&original).unwrap(), Source::open(&restored).unwrap());
        for (a, b) in old.select(None).unwrap().into_iter().zip(new.select(None).unwrap()) {
            assert_eq!((&a.name, &a.attributes), (&b.name, &b.attributes));
            let whole = Box4::whole(a.shape);
            let bits = |stored: Stored| stored.values.bytes().to_vec();
            assert_eq!(bits(old.read(a, &whole).unwrap()), bits(new.read(b, &whole).unwrap()), "{}", a.name);
        }
    }
}

#[test]
fn hdf5_file_comes_back_with_its_links_types_references_and_data() {
    let (original, restored, _folder) = there_and_back("rich.h5");
    let (mut old, mut new) = (inventory(&original), inventory(&restored));
    // How coded variables are stored is their own affair.
    let storage = |line: &str| {
        ["/data/again", "/sparse", "/u"].iter().any(|name| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(" Some") || rest.starts_with(" None"))
        })
    };
    [&mut old, &mut new].into_iter().for_each(|lines| lines.retain(|line| !storage(line)));
    for (a, b) in old.iter().zip(&new) {
        assert_eq!(a, b);
    }
    assert_eq!(old.len(), new.len());
    // The inventory sees what it is there for.
    let sees = |line: &str| assert!(old.iter().any(|l| l == line), "`{line}` is not in {old:#?}");
    ["/data/up = /data", "/u = /data/again", "/soft -> /data/p", "/gone -> /nowhere"].iter().for_each(|l| sees(l));
    sees("/outside -> other.h5 /a/b");
    sees("/references: /data/again, /data, null");
    sees("/data/again@sibling: /data/p");
}

#[test]
fn archive_is_the_same_bytes_whenever_it_is_made() {
    let folder = scratch("whole-bytes");
    let first = archive(&data("rich.h5"), &folder.join("a.sci.h5"));
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let second = archive(&data("rich.h5"), &folder.join("b.sci.h5"));
    assert!(std::fs::read(first).unwrap() == std::fs::read(second).unwrap(), "bytes differ");
}

/// Every link, object, attribute and value of an HDF5 file as lines, in order.
fn inventory(path: &Path) -> Vec<String> {
    let file = File::open(path).unwrap();
    let mut all = Inventory { names: Vec::new(), lines: Vec::new(), file: &file };
    all.names.push((file.as_group().unwrap().loc_info().unwrap().token, "/".into()));
    all.collect(&file, "");
    all.describe(&file, "");
    all.lines
}

struct Inventory<'f> {
    file: &'f File,
    /// Every object and its first name.
    names: Vec<(hdf5::LocationToken, String)>,
    lines: Vec<String>,
}

impl Inventory<'_> {
    fn name(&self, object: &Location) -> Option<&str> {
        let token = object.loc_info().unwrap().token;
        self.names.iter().find(|(known, _)| *known == token).map(|(_, name)| name.as_str())
    }

    fn collect(&mut self, group: &Group, prefix: &str) {
        for (name, kind) in links(group) {
            let path = format!("{prefix}/{name}");
            if kind != LinkType::Hard {
                continue;
            }
            let info = group.loc_info_by_name(&name).unwrap();
            if self.names.iter().any(|(known, _)| *known == info.token) {
                continue;
            }
            self.names.push((info.token, path.clone()));
            if info.loc_type == LocationType::Group {
                self.collect(&group.group(&name).unwrap(), &path);
            }
        }
    }

    fn describe(&mut self, group: &Group, prefix: &str) {
        self.attributes(group, prefix);
        for (name, kind) in links(group) {
            let path = format!("{prefix}/{name}");
            if kind != LinkType::Hard {
                self.lines.push(format!("{path} -> {}", target(group, &name)));
                continue;
            }
            let info = group.loc_info_by_name(&name).unwrap();
            let first = self.names.iter().find(|(known, _)| *known == info.token).unwrap().1.clone();
            if first != path {
                self.lines.push(format!("{path} = {first}"));
                continue;
            }
            match info.loc_type {
                LocationType::Group => self.describe(&group.group(&name).unwrap(), &path),
                LocationType::Dataset => self.dataset(&group.dataset(&name).unwrap(), &path),
                _ => {
                    let dtype = group.committed_datatype(&name).unwrap().as_datatype().clone();
                    self.lines.push(format!("{path} is a type {dtype:?}"));
                }
            }
        }
    }

    fn dataset(&mut self, dataset: &Dataset, path: &str) {
        let space = dataset.space().unwrap();
        self.lines.push(format!("{path} {:?} {:?} {:?}", dataset.dtype().unwrap(), space.shape(), space.maxdims()));
        self.lines.push(format!("{path} {:?} {:?}", dataset.chunk(), dataset.filters()));
        self.attributes(dataset, path);
        let values = self.values(dataset);
        self.lines.push(format!("{path}: {values}"));
    }

    fn attributes(&mut self, object: &Location, path: &str) {
        for name in object.attr_names().unwrap() {
            let attribute = object.attr(&name).unwrap();
            self.lines.push(format!("{path}@{name} {:?} {:?}", attribute.dtype().unwrap(), attribute.shape()));
            let values = self.values(&attribute);
            self.lines.push(format!("{path}@{name}: {values}"));
        }
    }

    /// All values: references as names, texts and sequences as such, the rest as bytes.
    fn values(&self, container: &Container) -> String {
        let dtype = container.dtype().unwrap();
        if container.space().unwrap().is_null() {
            return "nothing".into();
        }
        match dtype.to_descriptor().unwrap() {
            TypeDescriptor::Reference(_) => {
                let references = container.read_raw::<ObjectReference1>().unwrap();
                references.iter().map(|r| self.referenced(r)).collect::<Vec<_>>().join(", ")
            }
            TypeDescriptor::VarLenUnicode => format!("{:?}", container.read_raw::<hdf5::types::VarLenUnicode>()),
            TypeDescriptor::VarLenAscii => format!("{:?}", container.read_raw::<hdf5::types::VarLenAscii>()),
            TypeDescriptor::VarLenArray(_) => format!("{:?}", container.read_raw::<hdf5::types::VarLenArray<i16>>()),
            _ => format!("{:?}", bytes(container, &dtype)),
        }
    }

    fn referenced(&self, reference: &ObjectReference1) -> String {
        use hdf5::ReferencedObject as Object;
        let name = |object: &Location| self.name(object).unwrap_or("elsewhere").to_string();
        match self.file.dereference(reference) {
            Ok(Object::Dataset(d)) => name(&d),
            Ok(Object::Group(g)) => name(&g),
            _ => "null".into(),
        }
    }
}

fn links(group: &Group) -> Vec<(String, LinkType)> {
    let all = group.links(hdf5::IndexType::Name, hdf5::IterationOrder::Increasing).unwrap();
    all.into_iter().map(|(name, info)| (name, info.link_type)).collect()
}

/// Where a soft or external link leads.
fn target(group: &Group, name: &str) -> String {
    let name = std::ffi::CString::new(name).unwrap();
    let mut value = vec![0u8; 256];
    // SAFETY: the name ends with NUL; at most the size of the buffer is written.
    let status = hdf5::sync::sync(|| unsafe {
        hdf5_metno_sys::h5l::H5Lget_val(group.id(), name.as_ptr(), value.as_mut_ptr().cast(), value.len(), 0)
    });
    assert!(status >= 0);
    let texts = value.split(|&b| b == 0).filter(|text| !text.is_empty());
    texts.map(|text| String::from_utf8(text.to_vec()).unwrap()).collect::<Vec<_>>().join(" ")
}

/// All values in the byte order and layout of the file.
fn bytes(container: &Container, dtype: &Datatype) -> Vec<u8> {
    use hdf5_metno_sys::{h5a::H5Aread, h5d::H5Dread, h5i::H5I_type_t::H5I_ATTR};
    let mut bytes = vec![0u8; container.size() * dtype.size()];
    let out = bytes.as_mut_ptr().cast();
    // SAFETY: the buffer holds every value in the type that is passed; 0 stands for all of it.
    let status = hdf5::sync::sync(|| unsafe {
        if container.id_type() == H5I_ATTR {
            H5Aread(container.id(), dtype.id(), out)
        } else {
            H5Dread(container.id(), dtype.id(), 0, 0, 0, out)
        }
    });
    assert!(status >= 0);
    bytes
}
