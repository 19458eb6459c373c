//! Files without a library, IDX and raw, through whole jobs.

use std::path::Path;

use super::process::{folder, mpirun, sci_hpc, write};
use super::toy::{assert_same, finish, products};

/// Images as MNIST has them, 40 of 28 x 28, or labels, and an IDX header.
fn idx(shape: &[u32], value: impl Fn(usize) -> u8) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, u8::try_from(shape.len()).unwrap()];
    shape.iter().for_each(|n| bytes.extend(n.to_be_bytes()));
    bytes.extend((0..shape.iter().product::<u32>() as usize).map(value));
    bytes
}

fn image(i: usize) -> u8 {
    let (n, y, x) = (i / 784, i / 28 % 28, i % 28);
    let r2 = (y as f64 - 14.0).powi(2) + (x as f64 - 10.0 - n as f64 * 0.2).powi(2);
    (255.0 * (-r2 / 30.0).exp()) as u8
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn idx_files_come_back_lossless_under_half_a_quantum_and_archives_are_equal_at_every_rank_count() {
    let (images, labels) = (idx(&[40, 28, 28], image), idx(&[400], |i| (i * i % 10) as u8));
    let run = |ranks: usize| {
        let here = folder(&format!("idx-{ranks}"));
        std::fs::write(here.join("images.idx3-ubyte"), &images).unwrap();
        std::fs::write(here.join("labels.idx1-ubyte"), &labels).unwrap();
        let job = "job: {name: idx, output: out}\ndata: {inputs: ['*-ubyte']}\n\
                   compress: {error_bound: {abs: 0.4}, tile: {steps: 8}}\ndecompress: {}\n";
        write(&here, "job.yaml", job);
        finish(&here, ranks, &[]);
        assert!(read(&here.join("out/decompressed/images.idx3-ubyte")) == images, "{ranks} ranks");
        assert!(read(&here.join("out/decompressed/labels.idx1-ubyte")) == labels, "{ranks} ranks");
        products(&here)
    };
    let one = run(1);
    for ranks in [2, 4] {
        assert_same(&run(ranks), &one, "ranks");
    }
    let here = folder("idx-1");
    let archive = here.join("a.sci.h5");
    std::fs::write(&archive, &one["archive/images.idx3-ubyte.sci.h5"]).unwrap();
    let found = sci_hpc(&here, &["inspect", "a.sci.h5", "--verify"]);
    let words = ["original_format: idx", "shape: [40,1,28,28]", "every stream decodes"];
    words.iter().for_each(|word| assert!(found.answer().contains(word), "{word}: {}", found.stdout));
    sci_hpc(&here, &["extract", "a.sci.h5", "-t", "3:5", "-o", "part.nc"]).answer();
    let part = sci_hpc::archive::Source::open(&here.join("part.nc")).unwrap().read_all("values").unwrap();
    assert_eq!(part.0, [2, 1, 28, 28]);
    assert_eq!(part.1.bytes(), &images[16 + 3 * 784..16 + 5 * 784]);
}

const RAW: &str = "\
job: {name: raw, output: out}
data:
  inputs: ['*.f32']
  raw: {shape: [4, 6, 8], type: f32, order: big, variable: u, units: m s-1}
  split: {train: 0.75}
train: {model: {name: dense, hidden: [8], latent: 3}, epochs: 2, batch: 4, shards: 4}
compress: {error_bound: {abs: 1.0e-3}}
decompress: {}
assimilate: {methods: [{name: tsvd, modes: 2}], observations: {count: 0.5}}
";

/// Two files of 6 steps, big-endian.
fn write_raw(here: &Path) -> [Vec<f32>; 2] {
    ["a", "b"].map(|name| {
        let first = if name == "a" { 0 } else { 6 };
        let value = |i: usize| ((first + i / 192) as f32 * 0.7 + (i % 192) as f32 * 0.1).sin();
        let mut values: Vec<f32> = (0..6 * 192).map(value).collect();
        values[17] = f32::NAN;
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_be_bytes()).collect();
        std::fs::write(here.join(format!("{name}.f32")), bytes).unwrap();
        values
    })
}

#[test]
fn raw_files_train_compress_come_back_and_are_assimilated_on_two_ranks() {
    let here = folder("raw");
    let values = write_raw(&here);
    write(&here, "job.yaml", RAW);
    let plan = sci_hpc(&here, &["--config", "job.yaml", "--dry-run", "--ranks", "2"]);
    let words = ["a.f32 (raw-big)", "u: f32, 6 steps of 4 x 6 x 8", "samples"];
    words.iter().for_each(|word| assert!(plan.answer().contains(word), "{word}: {}", plan.stdout));
    assert!(!here.join("out").exists());
    finish(&here, 2, &[]);
    for (name, values) in ["a", "b"].iter().zip(&values) {
        let back = read(&here.join(format!("out/decompressed/{name}.f32")));
        assert_eq!(back.len(), 4 * values.len());
        let numbers = back.chunks_exact(4).map(|b| f32::from_be_bytes(b.try_into().unwrap()));
        for (i, (got, want)) in numbers.zip(values).enumerate() {
            let same = got.to_bits() == want.to_bits();
            assert!(same || f64::from((got - want).abs()) <= 1.0e-3, "{name}, {i}: {got} for {want}");
        }
    }
    let metrics: serde_json::Value = serde_json::from_slice(&read(&here.join("out/metrics.json"))).unwrap();
    assert_eq!(metrics["compress"]["variables"]["u"]["bound_violations"], 0);
    assert_eq!(metrics["assimilate"]["methods"][0]["name"], "tsvd");
}

#[test]
fn files_of_the_wrong_length_and_wrong_descriptions_are_refused_before_anything_starts() {
    let here = folder("raw-wrong");
    write_raw(&here);
    let mut bytes = read(&here.join("b.f32"));
    bytes.pop();
    std::fs::write(here.join("b.f32"), bytes).unwrap();
    write(&here, "job.yaml", RAW);
    let words = ["b.f32", "has 4607 bytes", "a multiple of the 768 bytes per step"];
    mpirun(&here, 2, "", &["--config", "job.yaml"]).refused(3, &words);
    let set = |key: &str, value: &str| {
        sci_hpc(&here, &["--config", "job.yaml", "--set", &format!("data.raw.{key}={value}"), "--dry-run"])
    };
    set("shape", "[4, 0, 8]").refused(2, &["data.raw.shape", "an extent of 0"]);
    set("type", "f16").refused(2, &["data.raw.type", "f16"]);
    set("offset", "16").refused(2, &["data.raw.offset", "unknown key"]);
    set("variable", "a/b").refused(2, &["data.raw.variable"]);
    let images = idx(&[40, 28, 28], image);
    std::fs::write(here.join("cut.idx"), &images[..1000]).unwrap();
    let job = "job: {name: idx, output: out}\ndata: {inputs: [cut.idx]}\ncompress: {error_bound: {abs: 0.4}}\n";
    write(&here, "job.yaml", job);
    mpirun(&here, 2, "", &["--config", "job.yaml"]).refused(3, &["cut.idx", "has 1000 bytes", "expected 31376"]);
    assert!(!here.join("out").exists());
}
