//! Symbols to bytes and back with table models, on one core: one JSON line per kind.
//!
//! `scripts/bench entropy [--symbols 4000000]`

use std::time::Instant;

use clap::Parser;
use sci_hpc::codec::{self, LatentShape};
use sci_hpc::job::memory;

/// Codes and decodes latents as an archive keeps them, and compares every one.
#[derive(Parser)]
struct Arguments {
    /// Latent numbers of each kind.
    #[arg(long, default_value_t = 1 << 22)]
    symbols: usize,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Each is timed so often; the fastest counts.
const ROUNDS: usize = 5;

fn main() {
    memory::reuse_freed();
    let arguments = Arguments::parse();
    let count = arguments.symbols;
    // Gaussians, wider from channel to channel; and 4,096 latents of which every hundredth is not 0, at random.
    let dense = |frame: usize, i: usize| (4.0 * (i % frame % 64 + 1) as f64 / 64.0 * normal(i)).round() as i32;
    let sparse = |i: usize| if uniform(2 * count + i) < 0.01 { (3.0 * normal(i)).round() as i32 } else { 0 };
    let samples = |frame: usize| count.div_ceil(frame);
    for (kind, cells, channels) in [("64 channels of 64 cells", 64, 64), ("4096 channels", 1, 4096)] {
        let shape = LatentShape { steps: samples(cells * channels), cells, channels };
        measure(kind, shape, &(0..shape.count()).map(|i| dense(cells * channels, i)).collect::<Vec<i32>>());
    }
    let shape = LatentShape { steps: samples(4096), cells: 1, channels: 4096 };
    measure("4096 channels, 1 % not 0", shape, &(0..shape.count()).map(sparse).collect::<Vec<i32>>());
}

fn measure(kind: &str, shape: LatentShape, symbols: &[i32]) {
    let fastest = |run: &mut dyn FnMut()| {
        let time = |_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64()
        };
        (0..ROUNDS).map(time).fold(f64::INFINITY, f64::min)
    };
    let (mut bytes, mut back) = (Vec::new(), Vec::new());
    let encode_s = fastest(&mut || bytes = codec::encode_latent(symbols, shape));
    let decode_s = fastest(&mut || back = codec::decode_latent(&bytes, shape).expect("just encoded"));
    assert!(back == symbols, "{kind}: what is decoded differs");
    // What a coder of gaps codes: two symbols for everything that is not 0.
    let nonzero = symbols.iter().filter(|q| **q != 0).count();
    let coded = if nonzero * 64 <= symbols.len() { 2 * nonzero } else { symbols.len() };
    let line = serde_json::json!({
        "bench": "entropy",
        "kind": kind,
        "numbers": symbols.len(),
        "symbols": coded,
        "bits_per_symbol": 8.0 * bytes.len() as f64 / coded as f64,
        "encode_msymbols_s": 1e-6 * coded as f64 / encode_s,
        "decode_msymbols_s": 1e-6 * coded as f64 / decode_s,
        "decode_mnumbers_s": 1e-6 * symbols.len() as f64 / decode_s,
    });
    println!("{line}");
}

/// Of number `i`, uniform in 0..1.
fn uniform(i: usize) -> f64 {
    let mut x = (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x1234_5678);
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ x >> 31) >> 11) as f64 / (1u64 << 53) as f64
}

/// Of number `i`, Gaussian.
fn normal(i: usize) -> f64 {
    let radius = (-2.0 * (1.0 - uniform(2 * i)).ln()).sqrt();
    radius * (std::f64::consts::TAU * uniform(2 * i + 1)).cos()
}
