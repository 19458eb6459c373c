//! Held-out steps of a series through whole jobs: one JSON line per quality asked for.
//!
//! `scripts/bench seq SEQ.npy [--out DIR] [--predictor auto]`
//!
//! SEQ.npy is f4 (run, time, component, z, y, x), three runs at least. Coded are the last 16 steps of component 0 of run 2,
//! whose initial state no other run has: in an archive per point, by the program itself; what it decodes to is compared
//! here, value by value. Runs 0 and 1 are for a model, which has to be finished before run 2 is read: the predictors that
//! win here learn nothing before they see what they code, so there is none.
//!
//! `ratio` counts streams, index and masks; `ratio_with_model` every byte of the archive file. The speeds are those of the
//! codec on one core, without files and figures.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use sci_hpc::archive::{ElementType, Values};
use sci_hpc::codec::{Limits, Predictor, TileFrame, TileSpec, decode_tile, encode_tile};
use sci_hpc::job::memory;
use serde_json::{Value, json};

/// PSNR asked for, dB, and bounds, fractions of max - min.
const PSNRS: [f64; 4] = [40.0, 50.0, 60.0, 70.0];
const BOUNDS: [f64; 4] = [1e-2, 3e-3, 1e-3, 1e-4];
/// Steps that are coded, of this run.
const STEPS: usize = 16;
const RUN: usize = 2;

#[derive(Clone, Copy, ValueEnum)]
enum Named {
    Auto,
    Linear,
    Interpolation,
    Lorenzo,
}

/// Codes the last steps of a run at several qualities.
#[derive(Parser)]
struct Arguments {
    /// The series, NumPy f4 (run, time, component, z, y, x).
    series: PathBuf,
    /// Keeps the archive POINT.sci.h5 and what it decodes to, POINT.npy, of every point here.
    #[arg(long)]
    out: Option<PathBuf>,
    /// `compress.predictor`.
    #[arg(long, value_enum, default_value = "auto")]
    predictor: Named,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    memory::reuse_freed();
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global().expect("the first pool of this process");
    let arguments = Arguments::parse();
    let work = std::env::temp_dir().join(format!("sci-hpc-seq-{}", std::process::id()));
    std::fs::create_dir_all(&work).unwrap_or_else(|e| fail(&work, &e));
    if let Some(out) = &arguments.out {
        std::fs::create_dir_all(out).unwrap_or_else(|e| fail(out, &e));
    }
    let (shape, values) = held_out(&arguments.series);
    let input = work.join("seq.f32");
    std::fs::write(&input, bytemuck::cast_slice(&values)).unwrap_or_else(|e| fail(&input, &e));
    let psnrs = PSNRS.map(|db| (format!("psnr{db}"), "psnr", db));
    let bounds = BOUNDS.map(|rel| (format!("rel{rel:e}"), "rel", rel));
    for (name, key, value) in psnrs.into_iter().chain(bounds) {
        let point = Point { work: work.join(&name), name, key, value };
        println!("{}", point.run(&arguments, (&input, shape), &values));
    }
    std::fs::remove_dir_all(&work).unwrap_or_else(|e| fail(&work, &e));
}

fn fail(path: &Path, error: &dyn std::fmt::Display) -> ! {
    eprintln!("{}: {error}", path.display());
    std::process::exit(3);
}

/// The steps to be coded, and their shape (t, z, y, x).
fn held_out(path: &Path) -> ([usize; 4], Vec<f32>) {
    let mut file = File::open(path).unwrap_or_else(|e| fail(path, &e));
    let (first, shape) = header(&mut file).unwrap_or_else(|reason| fail(path, &reason));
    let [runs, times, components, z, y, x] = shape;
    if runs <= RUN || times < STEPS || components == 0 {
        fail(path, &format!("shape {shape:?}: at least {} runs of {STEPS} steps are needed", RUN + 1));
    }
    let cells = z * y * x;
    let mut values = vec![0f32; STEPS * cells];
    for (step, values) in values.chunks_exact_mut(cells).enumerate() {
        let frame = (RUN * times + times - STEPS + step) * components;
        file.seek(SeekFrom::Start((first + frame * cells * 4) as u64)).unwrap_or_else(|e| fail(path, &e));
        file.read_exact(bytemuck::cast_slice_mut(values)).unwrap_or_else(|e| fail(path, &e));
    }
    ([STEPS, z, y, x], values)
}

/// Where the numbers of an NPY file start, and their shape.
fn header(file: &mut File) -> Result<(usize, [usize; 6]), String> {
    let mut head = [0u8; 12];
    file.read_exact(&mut head).map_err(|e| e.to_string())?;
    if !head.starts_with(b"\x93NUMPY") {
        return Err("this is no NPY file".into());
    }
    let (start, length) = match head[6] {
        1 => (10, usize::from(u16::from_le_bytes([head[8], head[9]]))),
        _ => (12, u32::from_le_bytes([head[8], head[9], head[10], head[11]]) as usize),
    };
    let mut text = vec![0; length];
    file.seek(SeekFrom::Start(start as u64)).and_then(|_| file.read_exact(&mut text)).map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&text);
    if !text.contains("'<f4'") || !text.contains("'fortran_order': False") {
        return Err(format!("little-endian f4 in C order is needed, not {text}"));
    }
    let shape = text.split_once("'shape': (").and_then(|(_, rest)| rest.split_once(')')).map_or("", |(shape, _)| shape);
    let shape: Vec<usize> = shape.split(',').filter_map(|n| n.trim().parse().ok()).collect();
    let shape = <[usize; 6]>::try_from(shape).map_err(|found| format!("6 axes are needed, not {found:?}"))?;
    Ok((start + length, shape))
}

/// A quality asked for.
struct Point {
    name: String,
    work: PathBuf,
    /// Key of the error bound, and its value.
    key: &'static str,
    value: f64,
}

impl Point {
    /// Runs the job and compares.
    fn run(&self, arguments: &Arguments, (input, shape): (&Path, [usize; 4]), values: &[f32]) -> Value {
        let (key, value) = (self.key, self.value);
        let (predictor, name) = match arguments.predictor {
            Named::Auto => (Predictor::Auto, "auto"),
            Named::Linear => (Predictor::Linear, "linear"),
            Named::Interpolation => (Predictor::Interpolation, "interpolation"),
            Named::Lorenzo => (Predictor::Lorenzo, "lorenzo"),
        };
        let job = json!({
            "job": { "name": "seq", "output": self.work, "device": "cpu" },
            "data": { "inputs": [input], "raw": { "shape": shape, "variable": "u" } },
            "compress": { "error_bound": { key: value }, "predictor": name },
            "decompress": {},
        });
        let path = self.work.with_extension("yaml");
        std::fs::write(&path, job.to_string()).unwrap_or_else(|e| fail(&path, &e));
        let program = env!("CARGO_BIN_EXE_sci-hpc");
        let done = Command::new(program).arg("--config").arg(&path).output().unwrap_or_else(|e| fail(&path, &e));
        if !done.status.success() {
            fail(&path, &String::from_utf8_lossy(&done.stderr));
        }
        let read = |path: PathBuf| std::fs::read(&path).unwrap_or_else(|e| fail(&path, &e));
        let archive = read(self.work.join("archive/seq.f32.sci.h5"));
        let decoded = read(self.work.join("decompressed/seq.f32"));
        let metrics: Value = serde_json::from_slice(&read(self.work.join("metrics.json"))).expect("metrics are JSON");
        if let Some(out) = &arguments.out {
            self.keep(out, (&archive, &decoded), shape);
        }
        let (psnr_db, violations) = self.compare(values, &decoded);
        let coded = &metrics["compress"]["variables"]["u"];
        let [encode_mb_s, decode_mb_s] = self.speeds(values, shape, predictor);
        json!({
            "psnr_target_db": (key == "psnr").then_some(value),
            "bound_rel": (key == "rel").then_some(value),
            "psnr_db": psnr_db,
            "ratio": coded["ratio"],
            "ratio_with_model": size_of_val(values) as f64 / archive.len() as f64,
            "violations": violations,
            "encode_mb_s": encode_mb_s,
            "decode_mb_s": decode_mb_s,
            "tiles": coded["tiles"],
        })
    }

    /// Of coding, which contains the decoding that verifies it, and of decoding.
    fn speeds(&self, values: &[f32], shape: [usize; 4], predictor: Predictor) -> [f64; 2] {
        let megabytes = size_of_val(values) as f64 * 1e-6;
        let given = |key| (self.key == key).then_some(self.value);
        let bound = Limits::resolve(None, given("rel"), (None, given("psnr")), span(values)).bound();
        let spec = TileSpec { predictor, ..TileSpec::new(shape, bound) };
        let values = Values::F32(values.to_vec());
        let started = Instant::now();
        let coded = encode_tile(&values, None, &spec).unwrap_or_else(|e| fail(&self.work, &e));
        let encode_s = started.elapsed().as_secs_f64();
        let frame = TileFrame { shape, element: ElementType::F32, mask: coded.mask.as_ref(), prediction: None };
        let started = Instant::now();
        decode_tile(&coded.stream, &frame).unwrap_or_else(|e| fail(&self.work, &e));
        [megabytes / encode_s, megabytes / started.elapsed().as_secs_f64()]
    }

    fn keep(&self, out: &Path, (archive, decoded): (&[u8], &[u8]), [t, z, y, x]: [usize; 4]) {
        let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({t}, {z}, {y}, {x}), }}");
        let mut npy = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
        npy.extend(format!("{text:<117}\n").bytes());
        npy.extend(decoded);
        for (ending, bytes) in [("sci.h5", archive), ("npy", &npy)] {
            let path = out.join(format!("{}.{ending}", self.name));
            std::fs::write(&path, bytes).unwrap_or_else(|e| fail(&path, &e));
        }
    }

    /// PSNR, and the values that break the bound: all, if the PSNR asked for is not reached.
    fn compare(&self, values: &[f32], decoded: &[u8]) -> (f64, usize) {
        let decoded: Vec<f32> = decoded.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        assert_eq!(decoded.len(), values.len(), "as many values come back");
        let range = span(values);
        let errors = || values.iter().zip(&decoded).map(|(&a, &b)| (f64::from(a) - f64::from(b)).abs());
        let mean = errors().map(|e| e * e).sum::<f64>() / values.len() as f64;
        let psnr_db = 20.0 * range.log10() - 10.0 * mean.log10();
        let violations = match self.key {
            "psnr" if psnr_db < self.value => values.len(),
            "psnr" => 0,
            // A difference that is not a number is a violation too.
            _ => errors().filter(|e| e.is_nan() || *e > self.value * range).count(),
        };
        (psnr_db, violations)
    }
}

/// max - min.
fn span(values: &[f32]) -> f64 {
    let wide = values.iter().map(|&v| f64::from(v));
    let (low, high) = wide.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    high - low
}
