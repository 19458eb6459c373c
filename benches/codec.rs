//! The classical codec on one variable of a file, on one core: one JSON line per bound.
//!
//! `scripts/bench codec FILE VARIABLE [--bounds 1e-1,1e-2,1e-3]`

use std::path::PathBuf;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use sci_hpc::archive::{Source, Stored, Variable};
use sci_hpc::codec::{self, Limits, Predictor, TileFrame, TileSpec};
use sci_hpc::config::Tile;
use sci_hpc::job::{memory, tiling};
use sci_hpc::report::metrics::Quality;

/// Codes and decodes a variable tile by tile, as `compress` does it, and compares every value.
#[derive(Parser)]
struct Arguments {
    /// NetCDF or HDF5 file.
    file: PathBuf,
    /// Variable in it.
    variable: String,
    /// Bounds as fractions of max - min.
    #[arg(long, value_delimiter = ',', default_value = "1e-1,1e-2,1e-3,1e-4,1e-5")]
    bounds: Vec<f64>,
    /// How tiles are predicted.
    #[arg(long, value_enum, default_value = "auto")]
    predictor: Named,
    /// Steps of a tile; default: as `compress` chooses them.
    #[arg(long)]
    steps: Option<usize>,
    /// Values read at most; the first steps of larger variables.
    #[arg(long, default_value_t = 1 << 27)]
    values: usize,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Named {
    Auto,
    Interpolation,
    Lorenzo,
    Linear,
}

/// What all tiles add up to.
#[derive(Default)]
struct Total {
    bytes: usize,
    encode_s: f64,
    decode_s: f64,
    quality: Quality,
}

fn main() {
    memory::reuse_freed();
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global().expect("the first pool of this process");
    let arguments = Arguments::parse();
    let source = Source::open(&arguments.file).unwrap_or_else(|e| fail(&e));
    let variable = source.variable(&arguments.variable).unwrap_or_else(|e| fail(&e));
    let tiles = read(&arguments, &source, variable);
    let span = span(variable, &tiles);
    for &rel in &arguments.bounds {
        let total = code(&arguments, variable, (&tiles, rel * span));
        let original: usize = tiles.iter().map(|t| t.values.bytes().len()).sum();
        let megabytes = original as f64 * 1e-6;
        let line = serde_json::json!({
            "file": arguments.file.file_name().map(|n| n.to_string_lossy()),
            "variable": variable.name,
            "values": original / variable.element.size(),
            "rel": rel,
            "ratio": original as f64 / total.bytes as f64,
            "bits_per_value": 8.0 * total.bytes as f64 / total.quality.n.max(1) as f64,
            "psnr_db": total.quality.psnr_db(),
            "max_error_over_bound": total.quality.max_abs_error / (rel * span),
            "encode_mb_s": megabytes / total.encode_s,
            "decode_mb_s": megabytes / total.decode_s,
        });
        println!("{line}");
    }
}

fn fail(error: &dyn std::fmt::Display) -> ! {
    eprintln!("{error}");
    std::process::exit(3);
}

fn read(arguments: &Arguments, source: &Source, variable: &Variable) -> Vec<Stored> {
    let tile = Tile { steps: arguments.steps, cells: None };
    let mut left = arguments.values;
    let mut tiles = Vec::new();
    for region in tiling::tiles(variable.shape, &tile) {
        if region.count() > left {
            break;
        }
        left -= region.count();
        tiles.push(source.read(variable, &region).unwrap_or_else(|e| fail(&e)));
    }
    tiles
}

/// max - min of the finite, unmasked values, physical units.
fn span(variable: &Variable, tiles: &[Stored]) -> f64 {
    let mut quality = Quality::default();
    tiles.iter().for_each(|tile| compare(variable, (&tile.values, &tile.values), &mut quality));
    quality.max - quality.min
}

fn code(arguments: &Arguments, variable: &Variable, (tiles, bound): (&[Stored], f64)) -> Total {
    let fills = variable.fill_patterns();
    let scale = variable.packing.map_or(1.0, |p| p.scale.abs());
    let bound = Limits { abs: Some(bound * (1.0 - 1e-12) / scale), ..Limits::default() }.bound();
    let predictor = match arguments.predictor {
        Named::Auto => Predictor::Auto,
        Named::Interpolation => Predictor::Interpolation,
        Named::Lorenzo => Predictor::Lorenzo,
        Named::Linear => Predictor::Linear,
    };
    let mut total = Total::default();
    for tile in tiles {
        let valid_range = variable.valid_range;
        let spec = TileSpec { fills: &fills, valid_range, predictor, ..TileSpec::new(tile.shape, bound) };
        let started = Instant::now();
        let coded = codec::encode_tile(&tile.values, None, &spec).unwrap_or_else(|e| fail(&e));
        total.encode_s += started.elapsed().as_secs_f64();
        let frame =
            TileFrame { shape: tile.shape, element: variable.element, mask: coded.mask.as_ref(), prediction: None };
        let started = Instant::now();
        let values = codec::decode_tile(&coded.stream, &frame).unwrap_or_else(|e| fail(&e));
        total.decode_s += started.elapsed().as_secs_f64();
        total.bytes += coded.stream.len() + coded.mask.as_ref().map_or(0, |mask| mask.to_bytes().len());
        compare(variable, (&tile.values, &values), &mut total.quality);
    }
    total
}

type Pair<'a> = (&'a sci_hpc::archive::Values, &'a sci_hpc::archive::Values);

fn compare(variable: &Variable, (original, decoded): Pair, quality: &mut Quality) {
    let valid = variable.valid_numbers(original);
    for i in (0..original.len()).filter(|&i| valid[i]) {
        quality.add(variable.unpack(original.get_f64(i)), variable.unpack(decoded.get_f64(i)));
    }
}
