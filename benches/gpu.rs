//! The kernels of the GPU, one JSON line each: bytes or operations per second, and their share of what the card does: copies
//! (measured) or f32 multiply-adds (its processors times its clock). With `--device emulated` it only shows that it runs.
//!
//! `scripts/bench gpu --device cuda --batch 16 --precision tf32`

#[path = "common/mod.rs"]
mod common;

use std::cell::RefCell;
use std::time::Instant;

use clap::Parser;
use common::layers::{backbone, others};
use cudarc::driver::sys::CUdevice_attribute as Attribute;
use sci_hpc::backend::conv3d::{Conv3d, ConvDims, Epilogue, Rectifier};
use sci_hpc::backend::elementwise::{Activation, Binary, Elementwise, Gate};
use sci_hpc::backend::gpu::{Cuda, Driver, Gpu, GpuBuffer, Math};
use sci_hpc::backend::lattice::{
    Carried, Carrying, Collision, Fields, Grid, Ground, Lattice, Obstacles, Q, equilibrium,
};
use sci_hpc::backend::layout::{Layout, SliceDims};
use sci_hpc::backend::matmul::{Matmul, MatmulDims};
use sci_hpc::backend::norm::{BatchNorm, Gdn, Norm};
use sci_hpc::backend::optimize::{Adam, Moments, Optimize, RmsProp};
use sci_hpc::backend::random::{Purpose, Stream};
use sci_hpc::backend::reduce::{MiddleDims, Reduce};
use sci_hpc::backend::{Backend, Buffers};

/// Times every kernel family at the shapes of the backbone on 91 x 85 x 32.
#[derive(Parser)]
struct Arguments {
    /// cuda, or emulated (a build with `--features emulate`).
    #[arg(long, default_value = "cuda")]
    device: String,
    /// Of matrix products and convolutions: f32, tf32 or bf16.
    #[arg(long, default_value = "f32")]
    precision: String,
    /// Samples.
    #[arg(long, default_value_t = 16)]
    batch: usize,
    /// Only kernels whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let arguments = Arguments::parse();
    let math = match arguments.precision.as_str() {
        "f32" => Math::Exact,
        "tf32" => Math::Tf32,
        "bf16" => Math::Bf16,
        other => panic!("no precision `{other}`: f32, tf32 or bf16"),
    };
    match arguments.device.as_str() {
        "cuda" => {
            let cuda = Cuda::open(0).unwrap_or_else(|error| panic!("{error}"));
            let ask = |attribute| f64::from(cuda.attribute(attribute).unwrap_or_else(|error| panic!("{error}")));
            let processors = ask(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
            let clock_hz = ask(Attribute::CU_DEVICE_ATTRIBUTE_CLOCK_RATE) * 1e3;
            let flops = processors * 128.0 * 2.0 * clock_hz;
            println!("{}", serde_json::json!({"gpu": cuda.name(), "processors": processors, "clock_hz": clock_hz}));
            Bench { gpu: Gpu::new(cuda, math), arguments: &arguments, copies: 0.0, flops }.run();
        }
        #[cfg(feature = "emulate")]
        "emulated" => {
            let gpu = Gpu::new(sci_hpc::backend::gpu::Emulated::default(), math);
            Bench { gpu, arguments: &arguments, copies: 0.0, flops: f64::NAN }.run();
        }
        other => panic!("no device `{other}`"),
    }
}

struct Bench<'a, D: Driver> {
    gpu: Gpu<D, f32>,
    arguments: &'a Arguments,
    /// Bytes per second of a copy, read and written.
    copies: f64,
    /// Multiply-adds per second of the card, two operations each.
    flops: f64,
}

#[allow(clippy::cast_precision_loss)]
impl<D: Driver> Bench<'_, D>
where
    Gpu<D, f32>: Backend<Real = f32> + Buffers<Buffer = GpuBuffer<D, f32>>,
{
    fn run(mut self) {
        let grid = if self.arguments.device == "cuda" { 91 * 85 * 32 } else { 1000 };
        let len = 16 * grid * self.arguments.batch;
        let copied = [self.gpu.zeros(4 * len), self.gpu.zeros(4 * len)];
        self.copies = 8.0 * 4.0 * len as f64
            / self.seconds(&|| {
                let done = self.gpu.driver().copy(copied[0].region(), copied[1].region());
                done.unwrap_or_else(|error| panic!("{error}"));
            });
        drop(copied);
        self.flat(len);
        self.sums(len);
        self.norms(len);
        self.wind();
        self.dense();
        if self.arguments.device == "cuda" {
            let (batch, mut total) = (self.arguments.batch, 0.0);
            backbone(batch).iter().for_each(|dims| total += self.convolution(dims));
            for dims in others(batch) {
                self.convolution(&dims);
            }
            println!("{}", serde_json::json!({"kernel": "backbone layers, three contractions", "seconds": total}));
        }
    }

    /// Seconds of one call: the fastest of five series, each waited for.
    fn seconds(&self, work: &dyn Fn()) -> f64 {
        let wait = || self.gpu.driver().wait().unwrap_or_else(|error| panic!("{error}"));
        let series = |calls: usize| {
            let start = Instant::now();
            (0..calls).for_each(|_| work());
            wait();
            start.elapsed().as_secs_f64() / calls as f64
        };
        work();
        wait();
        let calls = (0.02 / series(1)).clamp(1.0, 200.0) as usize;
        (0..5).map(|_| series(calls)).fold(f64::INFINITY, f64::min)
    }

    /// Times a kernel that moves `bytes`.
    fn moves(&self, kernel: &str, bytes: usize, work: &dyn Fn()) {
        if kernel.contains(&self.arguments.only) {
            let seconds = self.seconds(work);
            let rate = bytes as f64 / seconds;
            let line = serde_json::json!({"kernel": kernel, "seconds": seconds, "gb_per_s": rate * 1e-9, "share_of_copy": rate / self.copies});
            println!("{line}");
        }
    }

    /// Times a kernel that computes `flops`; its seconds.
    fn computes(&self, kernel: &str, flops: f64, work: &dyn Fn()) -> f64 {
        if !kernel.contains(&self.arguments.only) {
            return 0.0;
        }
        let seconds = self.seconds(work);
        let rate = flops / seconds;
        let line = serde_json::json!({"kernel": kernel, "precision": self.arguments.precision, "seconds": seconds,
            "tflop_per_s": rate * 1e-12, "share_of_f32": rate / self.flops});
        println!("{line}");
        seconds
    }

    fn flat(&self, len: usize) {
        let gpu = &self.gpu;
        let [x, y] = [0.5, -0.25].map(|v| gpu.upload(&vec![v; len]));
        let slope = gpu.upload(&[0.25; 16]);
        self.moves("add", 12 * len, &|| drop(gpu.binary(Binary::Add, &x, &y)));
        self.moves("affine", 8 * len, &|| drop(gpu.affine(&x, 2.0, 1.0)));
        self.moves("relu", 8 * len, &|| drop(gpu.activate(Activation::Relu, 0, &x)));
        self.moves("tanh", 8 * len, &|| drop(gpu.activate(Activation::Tanh, 0, &x)));
        self.moves("elu derivative", 12 * len, &|| {
            drop(gpu.activate_mul(Activation::Elu { alpha: 1.0 }, 1, &x, &y));
        });
        self.moves("prelu", 8 * len, &|| drop(gpu.gate(Gate { x: &x, slope: &slope, y: &x, positive: 1.0 })));
        let dims = SliceDims { outer: len / 16, extent: 16, start: 3, len: 8, inner: 1 };
        self.moves("slice", 4 * len, &|| drop(gpu.slice(&x, &dims)));
        self.moves("concat", 16 * len, &|| drop(gpu.concat(&[&x, &y], len / 16)));
        let mut params = x.clone();
        let zeros = gpu.zeros(len);
        let moments = RefCell::new(Moments { first: zeros.clone(), second: zeros, steps: 0 });
        gpu.sgd(&mut params, &y, 0.0);
        let params = RefCell::new(params);
        self.moves("adam", 28 * len, &|| {
            gpu.adam(&mut params.borrow_mut(), &y, &mut moments.borrow_mut(), &Adam::new(1e-3));
        });
        self.moves("rmsprop", 20 * len, &|| {
            gpu.rmsprop(&mut params.borrow_mut(), &y, &mut moments.borrow_mut().second, &RmsProp::new(1e-3));
        });
    }

    fn sums(&self, len: usize) {
        let (gpu, x) = (&self.gpu, self.gpu.upload(&vec![0.5; len]));
        self.moves("dot", 8 * len, &|| {
            gpu.dot_f64(&x, &x);
        });
        for [outer, middle, inner] in [[1, len / 16, 16], [len / 1000, 1000, 1], [1, 16, len / 16]] {
            let dims = MiddleDims { outer, middle, inner };
            let of = gpu.view(&x, 0..dims.len());
            self.moves(&format!("sum_middle {outer}x{middle}x{inner}"), 4 * dims.len(), &|| {
                drop(gpu.sum_middle(&of, &dims));
            });
        }
        let dims = MiddleDims { outer: 1, middle: len / 16, inner: 16 };
        let short = gpu.upload(&[0.5; 16]);
        self.moves("mul_middle", 8 * len, &|| drop(gpu.mul_middle(&x, &short, &dims)));
        self.moves("dot_middle", 8 * len, &|| drop(gpu.dot_middle(&x, &x, &dims)));
        self.moves("gate_sum", 12 * len, &|| drop(gpu.gate_sum(&x, &x, &x, 16)));
    }

    /// Normalizations; of GDN what passes through memory, though with many channels it computes as long.
    fn norms(&self, len: usize) {
        let (gpu, x) = (&self.gpu, self.gpu.upload(&vec![0.5; len]));
        for c in [16, 64] {
            let [beta, gamma] = [c, c * c].map(|len| gpu.upload(&vec![0.1; len]));
            let gdn = Gdn { x: &x, beta: &beta, gamma: &gamma, inverse: false };
            self.moves(&format!("gdn {c}"), 8 * len, &|| drop(gpu.gdn(&gdn)));
            self.moves(&format!("gdn derivatives {c}"), 44 * len, &|| drop(gpu.gdn_grad(&gdn, &x, true)));
            let norm = BatchNorm { x: &x, mean: &beta, root: &beta, scale: &beta };
            self.moves(&format!("moments {c}"), 8 * len, &|| drop(gpu.moments(&x, c, 1e-5)));
            self.moves(&format!("batch_norm {c}"), 8 * len, &|| drop(gpu.batch_norm(&norm, &beta)));
            self.moves(&format!("batch_norm derivatives {c}"), 24 * len, &|| drop(gpu.batch_norm_grad(&norm, &x)));
        }
    }

    /// Steps of the wind of a quiet slab, smaller and larger than the caches.
    fn wind(&self) {
        if !"lattice advance carry".contains(&self.arguments.only) {
            return;
        }
        let gpu = self.gpu.double();
        let grids: &[[usize; 3]] =
            if self.arguments.device == "cuda" { &[[91, 85, 32], [364, 340, 128]] } else { &[[9, 8, 3]] };
        for &cells in grids {
            let grid = Grid { cells, y: 0..cells[1] };
            let rest = equilibrium([0.0; 3]);
            let values = || (0..grid.populations()).map(|i| rest[i / grid.block() % Q]).collect();
            let (now, next) = (gpu.adopt(values()), gpu.adopt(values()));
            let fields = RefCell::new(Fields { now, next, velocity: gpu.zeros(3 * grid.scalar()) });
            let heights = vec![0; cells[0] * cells[1]];
            let slab = gpu.slab(&grid, Obstacles { ground: Ground::Wall, heights, links: Vec::new() });
            let with = Collision::new(5e-4, 0.17);
            let name = format!("lattice advance {}x{}x{}", cells[0], cells[1], cells[2]);
            let bytes = (2 * Q + 3) * size_of::<f64>() * cells.iter().product::<usize>();
            self.moves(&name, bytes, &|| gpu.advance(&slab, &mut fields.borrow_mut(), &with));
            let now = gpu.adopt((0..grid.scalar()).map(|i| (i * 31 % 97) as f64).collect());
            let (next, air) = (gpu.zeros(grid.scalar()), gpu.adopt(vec![1.0; grid.scalar()]));
            let carried = RefCell::new(Carried { now, next, air });
            let with = Carrying { diffusivity: 1e-3, emission: 1.0, sources: [u64::MAX; 9] };
            let (name, bytes) =
                (name.replace("advance", "carry"), 6 * size_of::<f64>() * cells.iter().product::<usize>());
            let velocity = gpu.zeros(3 * grid.scalar());
            self.moves(&name, bytes, &|| gpu.carry(&slab, &mut carried.borrow_mut(), &velocity, &with));
        }
    }

    /// Numbers as data are, on which tensor cores run slower than on constants.
    fn noise(&self, len: usize) -> GpuBuffer<D, f32> {
        const PERIOD: u32 = 65_521; // a prime: rows do not repeat
        let stream = Stream::new(7, Purpose::Model, 0, 0);
        let period: Vec<f32> = (0..PERIOD).map(|i| stream.normals(i)[0] as f32).collect();
        self.gpu.upload(&period.into_iter().cycle().take(len).collect::<Vec<f32>>())
    }

    fn dense(&self) {
        let gpu = &self.gpu;
        let full = if self.arguments.device == "cuda" { 4096 } else { 96 };
        for [m, n, k] in [[full, full, full], [16, 1024, 60 * full], [16, 60 * full, 1024], [1000, 33, 77]] {
            let (a, b) = (self.noise(m * k), self.noise(k * n));
            for (transpose_a, transpose_b) in [(false, false), (false, true), (true, false)] {
                let dims = MatmulDims { m, n, k, transpose_a, transpose_b };
                let name = format!("matmul {m}x{n}x{k} {transpose_a} {transpose_b}");
                self.computes(&name, 2.0 * (m * n) as f64 * k as f64, &|| drop(gpu.matmul(&a, &b, &dims)));
            }
        }
    }

    /// Seconds of the three contractions of a layer.
    fn convolution(&self, dims: &ConvDims) -> f64 {
        let ConvDims { c_in, c_out, input, kernel, stride, padding, .. } = dims;
        let layer = format!("{c_in}>{c_out} {input:?} k{kernel:?} s{stride:?} p{padding:?}").replace(", ", ",");
        let volume = |g: [usize; 3]| g.iter().product::<usize>();
        let gpu = &self.gpu;
        let x = self.noise(dims.n * volume(dims.input) * dims.c_in);
        let w = self.noise(volume(dims.kernel) * dims.c_in * dims.c_out);
        let y = self.noise(dims.n * volume(dims.output) * dims.c_out);
        let flops = dims.flops() as f64;
        let slope = gpu.upload(&vec![0.25; *c_out]);
        let bias = Some(&slope);
        let then = Epilogue { bias, residual: Some(&y), rectifier: Some(Rectifier::Prelu(&slope)) };
        self.computes(&format!("conv3d forward, residual, prelu {layer}"), flops, &|| {
            drop(gpu.conv3d_forward_then(&x, &w, (&then, true), dims));
        });
        let work: [(&str, &dyn Fn()); 3] = [
            ("forward", &|| drop(gpu.conv3d_forward(&x, &w, None, dims))),
            ("input_grad", &|| drop(gpu.conv3d_input_grad(&y, &w, None, dims))),
            ("weight_grad", &|| drop(gpu.conv3d_weight_grad(&x, &y, dims))),
        ];
        work.iter().map(|(name, work)| self.computes(&format!("conv3d {name} {layer}"), flops, *work)).sum()
    }
}
