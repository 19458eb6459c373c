//! Generator `stack`: many small files become one, at any rank count and after a stop; what is not alike is refused.

use std::path::{Path, PathBuf};

use sci_hpc::archive::{Box4, FieldSpec, FieldVariable, FieldWriter, Piece, Source, Values};
use sci_hpc::archive::{Coordinate, ElementType};
use sci_hpc::world::World;

use super::process::{Run, folder, mpirun, write};
use super::toy::{assert_same, products};

const FILES: usize = 7;
const JOB: &str = "\
job: {name: stack, output: out}
generate: {name: stack, files: [\"in/*.nc\"]}
data: {variables: all}
compress: {error_bound: {abs: 0.4}, tile: {steps: 4}}
decompress: {}
";

fn run(here: &Path, ranks: usize, inject: &str, set: &[&str]) -> Run {
    let mut arguments = vec!["--config", "job.yaml"];
    set.iter().for_each(|set| arguments.extend(["--set", set]));
    mpirun(here, ranks, inject, &arguments)
}

fn counts(file: usize) -> Vec<u32> {
    (0..9 * 12).map(|i| (i * 31 + file * 17) as u32 % 50).collect()
}

/// An image of counts, 9 rows of `columns`, and a mask beside it.
fn image(path: &Path, columns: usize, counts: Vec<u32>) {
    image_of(path, columns, (ElementType::U32, counts.into()), ("counts", None));
}

/// The same of other numbers, in a unit, with a fill value.
fn image_of(path: &Path, columns: usize, (element, values): (ElementType, Values), (unit, fill): (&str, Option<f32>)) {
    let axis = |name: &str, n: usize| Coordinate::new(name, (0..n).map(|i| i as f64).collect(), Default::default());
    let mut image = FieldVariable::new("image", unit, "counts of a pixel");
    (image.element, image.axes) = (element, vec![2, 3]);
    fill.into_iter().for_each(|fill| image.attributes.put_numbers("_FillValue", vec![fill]));
    let mut mask = FieldVariable::new("mask", "1", "bad pixels");
    (mask.element, mask.axes) = (ElementType::U8, vec![2, 3]);
    let spec = FieldSpec {
        coordinates: [axis("time", 1), axis("z", 1), axis("y", 9), axis("x", columns)],
        variables: vec![image, mask],
        ..FieldSpec::default()
    };
    let world = World::serial();
    let mut file = FieldWriter::create(&world, path, &spec).unwrap();
    let region = Box4 { start: [0; 4], len: [1, 1, 9, columns] };
    let bad: Vec<u8> = (0..9 * columns).map(|i| u8::from(i == 5)).collect();
    file.write("image", vec![Piece { region, values }]).unwrap();
    file.write("mask", vec![Piece { region, values: bad.into() }]).unwrap();
    file.finish().unwrap();
}

fn images(name: &str) -> PathBuf {
    let here = folder(name);
    std::fs::create_dir(here.join("in")).unwrap();
    (0..FILES).for_each(|i| image(&here.join(format!("in/frame-{i:02}.nc")), 12, counts(i)));
    write(&here, "job.yaml", JOB);
    here
}

fn read(path: &Path, variable: &str) -> (Vec<usize>, Values) {
    let source = Source::open(path).unwrap();
    let variable = source.all_variables().find(|v| v.name == variable).unwrap();
    let shape = variable.dims.iter().map(|d| d.len).collect();
    (shape, source.read(variable, &Box4::whole(variable.shape)).unwrap().values)
}

#[test]
fn images_are_stacked_in_the_order_of_names_coded_and_come_back_at_every_rank_count_and_after_a_stop() {
    let [one, three, stopped] = ["1", "3", "stopped"].map(|name| images(&format!("stack-{name}")));
    let done = run(&one, 1, "", &[]);
    done.answer();
    let log = &done.stderr;
    assert!(log.contains("7 files, `image` of each: an image of 12 x 9 pixels (I) of u32, mask of the first"), "{log}");
    run(&three, 3, "", &[]).answer();
    assert_same(&products(&three), &products(&one), "3 ranks");
    run(&stopped, 2, "stop:stage=generate:step=4", &[]).refused(75, &[]);
    run(&stopped, 1, "", &[]).answer();
    assert_same(&products(&stopped), &products(&one), "stopped after 4 files");

    for file in ["out/generate/stack.nc", "out/decompressed/stack.nc"] {
        let all: Vec<u32> = (0..FILES).flat_map(counts).collect();
        assert_eq!(read(&one.join(file), "sasentry/sasdata/I"), (vec![FILES, 9, 12], all.into()), "{file}");
        let names: Vec<u8> = (0..FILES).flat_map(|i| format!("frame-{i:02}.nc").into_bytes()).collect();
        assert_eq!(read(&one.join(file), "sasentry/file"), (vec![FILES, 11], names.into()));
        let (shape, mask) = read(&one.join(file), "sasentry/sasdata/mask");
        assert_eq!((shape, mask.to_f64().iter().sum::<f64>()), (vec![9, 12], 1.0));
    }
    let metrics = std::fs::read_to_string(one.join("out/metrics.json")).unwrap();
    let metrics: serde_json::Value = serde_json::from_str(&metrics).unwrap();
    assert_eq!(metrics["generate"]["snapshots"].as_u64(), Some(7));
    assert_eq!(metrics["compress"]["variables"].as_object().unwrap().len(), 1, "the images alone are coded");
}

#[test]
fn curves_of_can_sas_xml_and_of_columns_are_stacked() {
    let here = folder("stack-curves");
    let point = |i: usize, q: f64| {
        let unit = |name: &str, unit: &str, value: f64| format!("<{name} unit=\"{unit}\">{value}</{name}>");
        let (intensity, deviation) = (unit("I", "1/cm", 100.0 / q + i as f64), unit("Idev", "1/cm", 0.5 * q));
        format!("<Idata>{}{intensity}{deviation}</Idata>\n", unit("Q", "1/A", q))
    };
    let qs: Vec<f64> = (1..=80).map(|q| f64::from(q) * 0.01).collect();
    for i in 0..3 {
        let points: String = qs.iter().map(|&q| point(i, q)).collect();
        let text = format!(
            "<?xml version=\"1.0\"?>\n<SASroot version=\"1.1\" xmlns=\"urn:cansas1d:1.1\"><SASentry><Title>{i}</Title>\
             <SASdata>{points}</SASdata></SASentry></SASroot>"
        );
        write(&here, &format!("{i}.xml"), &text);
        let line = |&q: &f64| format!(" {q}, {:e}\t{}\n", 100.0 / q + i as f64, 0.5 * q);
        write(&here, &format!("{i}.txt"), &format!("curve {i}\n80 1\n{}", qs.iter().map(line).collect::<String>()));
    }
    write(&here, "job.yaml", JOB);
    let bound = "compress.error_bound={pw_rel: 1.0e-3}";
    for (kind, unit) in [("xml", "1/cm"), ("txt", "")] {
        let (files, output) = (format!("generate.files=[\"*.{kind}\"]"), format!("job.output={kind}"));
        let done = run(&here, 2, "", &[&files, &output, bound]);
        done.answer();
        let log = &done.stderr;
        assert!(log.contains("a curve of 80 points (Q, I, Idev) of f64"), "{log}");
        let made = here.join(kind).join("generate/stack.nc");
        let expected: Vec<f64> = (0..3).flat_map(|i| qs.iter().map(move |q| 100.0 / q + f64::from(i))).collect();
        assert_eq!(read(&made, "sasentry/sasdata/I"), (vec![3, 80], expected.clone().into()), "{kind}");
        let deviations: Vec<f64> = (0..3).flat_map(|_| qs.iter().map(|q| 0.5 * q)).collect();
        assert_eq!(read(&made, "sasentry/sasdata/Idev").1, deviations.into());
        let source = Source::open(&made).unwrap();
        assert_eq!(source.variable("sasentry/sasdata/I").unwrap().units, unit);
        let back = read(&here.join(kind).join("decompressed/stack.nc"), "sasentry/sasdata/I").1.to_f64();
        assert!(back.iter().zip(&expected).all(|(x, y)| (x - y).abs() <= 1.0e-3 * y.abs()), "{kind}");
    }
}

#[test]
fn files_that_are_not_alike_or_hold_neither_image_nor_curve_are_refused_by_name() {
    let here = images("stack-refused");
    image(&here.join("in/wide.nc"), 13, vec![1; 9 * 13]);
    run(&here, 2, "", &[]).refused(3, &["wide.nc", "13 x 9 pixels", "12 x 9 pixels"]);
    std::fs::remove_file(here.join("in/wide.nc")).unwrap();
    image_of(&here.join("in/watts.nc"), 12, (ElementType::U32, counts(1).into()), ("W", None));
    run(&here, 1, "", &["job.output=units"]).refused(3, &["watts.nc", "units of I"]);
    // A frame dimension of length 0, as an acquisition leaves that was ended early.
    std::fs::create_dir(here.join("cut")).unwrap();
    for (name, frames) in [("a.nc", 1), ("b.nc", 0)] {
        let mut file = netcdf::create(here.join("cut").join(name)).unwrap();
        file.add_dimension("frame", frames).unwrap();
        file.add_dimension("y", 4).unwrap();
        file.add_dimension("x", 5).unwrap();
        let mut image = file.add_variable::<i32>("image", &["frame", "y", "x"]).unwrap();
        image.put_values(&vec![7; 20 * frames], ..).unwrap();
    }
    run(&here, 2, "", &["generate.files=[\"cut/*.nc\"]", "job.output=cut-out"]).refused(3, &["b.nc", "image"]);
    write(&here, "words.txt", "no numbers here\n");
    write(&here, "plane.dat", "Qx Qy I\n1 2 3\n1 2 4\n");
    write(&here, "two.xml", "<a><SASdata><Idata/></SASdata><SASdata><Idata/></SASdata></a>");
    for (set, code, words) in [
        ("generate.files=[none/*.nc]", 3, &["generate.files", "none/*.nc"][..]),
        ("generate.files=[]", 2, &["generate.files", "missing"]),
        ("generate.files=[words.txt]", 3, &["words.txt", "no curve"]),
        ("generate.files=[plane.dat]", 3, &["plane.dat", "as columns"]),
        ("generate.files=[in]", 3, &["a folder"]),
        ("generate.files=[two.xml]", 3, &["two.xml", "2 data sets"]),
        ("generate.variable=counts", 3, &["frame-00.nc", "no variable `counts` to stack", "image"]),
        ("data.on_bad_file=skip", 2, &["data.on_bad_file", "stack"]),
        ("generate.frames=3", 2, &["generate.frames", "stack"]),
    ] {
        run(&here, 1, "", &[set, "job.output=other"]).refused(code, words);
        assert!(!here.join("other").exists(), "{set}");
    }
}

#[test]
fn missing_values_that_are_no_number_and_files_that_are_other_ones_after_a_stop() {
    let here = folder("stack-missing");
    std::fs::create_dir(here.join("in")).unwrap();
    let numbers =
        |i: usize| (0..9 * 12).map(|at| if at == 7 { f32::NAN } else { (at + i) as f32 }).collect::<Vec<f32>>();
    for i in 0..6 {
        let path = here.join(format!("in/{i}.nc"));
        image_of(&path, 12, (ElementType::F32, numbers(i).into()), ("1", Some(f32::NAN)));
    }
    write(&here, "job.yaml", JOB);
    run(&here, 2, "stop:stage=generate:step=2", &[]).refused(75, &[]);
    std::fs::rename(here.join("in/0.nc"), here.join("in/9.nc")).unwrap();
    run(&here, 2, "", &[]).refused(2, &["9.nc", "was not there"]);
    std::fs::rename(here.join("in/9.nc"), here.join("in/0.nc")).unwrap();
    run(&here, 3, "", &[]).answer();
    let all: Vec<u32> = (0..6).flat_map(numbers).map(f32::to_bits).collect();
    let Values::F32(found) = read(&here.join("out/decompressed/stack.nc"), "sasentry/sasdata/I").1 else {
        panic!("f32")
    };
    let close = |(x, y): (&f32, u32)| x.to_bits() == y || (x - f32::from_bits(y)).abs() <= 0.4;
    assert!(found.iter().zip(all).all(close));
}
