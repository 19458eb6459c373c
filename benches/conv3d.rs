//! Time of the three contractions of every layer of a model: GFLOP/s and the share of the measured peak.
//!
//! `cargo bench --bench conv3d -- [threads] [batch] [part of a layer's name]`

#[path = "common/mod.rs"]
mod common;

use common::layers::{backbone, others};
use common::{Clock, peak_gflops};
use sci_hpc::backend::conv3d::{Conv3d, ConvDims};
use sci_hpc::backend::{Buffers, Cpu};

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let number = |i: usize| arguments.get(i).and_then(|a| a.parse().ok());
    let (threads, batch) = (number(0).unwrap_or(2), number(1).unwrap_or(4));
    let wanted = arguments.get(2).map_or("", String::as_str);
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().expect("first use of the pool");
    let peak = peak_gflops();
    println!(
        "{threads} threads, batch {batch}, peak {peak:.0} GFLOP/s (f32, {})",
        sci_hpc::backend::simd::instruction_set()
    );
    println!("{:>44} {:>8} {:>22} {:>22} {:>22}", "layer", "GFLOP", "forward", "input_grad", "weight_grad");
    let mut total = [0.0; 3];
    for dims in backbone(batch) {
        for (total, seconds) in total.iter_mut().zip(measure(&dims, peak, wanted)) {
            *total += seconds;
        }
    }
    println!("sum ms: {:.2} {:.2} {:.2}", total[0] * 1e3, total[1] * 1e3, total[2] * 1e3);
    for dims in others(batch) {
        measure(&dims, peak, wanted);
    }
}

/// Seconds of forward, input gradient and weight gradient, if the name of the layer contains `wanted`.
fn measure(dims: &ConvDims, peak: f64, wanted: &str) -> [f64; 3] {
    let ConvDims { c_in, c_out, input, kernel, stride, padding, .. } = dims;
    let name = format!("{c_in}>{c_out} {input:?} k{kernel:?} s{stride:?} p{padding:?}").replace(", ", ",");
    if !name.contains(wanted) {
        return [0.0; 3];
    }
    let device = Cpu::<f32>::new();
    let volume = |g: [usize; 3]| g.iter().product::<usize>();
    let x = device.upload(&vec![0.5; dims.n * volume(dims.input) * dims.c_in]);
    let w = device.upload(&vec![0.25; volume(dims.kernel) * dims.c_in * dims.c_out]);
    let y = device.upload(&vec![0.125; dims.n * volume(dims.output) * dims.c_out]);
    let seconds = [
        Clock::best(|| device.conv3d_forward(&x, &w, None, dims)),
        Clock::best(|| device.conv3d_input_grad(&y, &w, None, dims)),
        Clock::best(|| device.conv3d_weight_grad(&x, &y, dims)),
    ];
    #[allow(clippy::cast_precision_loss)]
    let gflop = dims.flops() as f64 * 1e-9;
    let column = |s: f64| format!("{:8.2} ms {:5.0} {:3.0} %", s * 1e3, gflop / s, 100.0 * gflop / s / peak);
    println!("{name:>44} {gflop:8.3} {} {} {}", column(seconds[0]), column(seconds[1]), column(seconds[2]));
    seconds
}
