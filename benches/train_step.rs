//! One training step, the encoder and the decoder of a model: one JSON line with medians in seconds, the operations of a
//! step, on the CPU their share of the measured peak, on a GPU how many kernels a step launches and how often the host waits.
//!
//! `scripts/bench train-step --model backbone --grid 91x85x32 --batch 4 --threads 2`
//! `scripts/bench train-step --model tucodec --batch 16 --device cuda --precision tf32`

#[path = "common/mod.rs"]
mod common;

use clap::Parser;
use common::{Clock, peak_gflops};
use ndarray::Array5;
use sci_hpc::backend::gpu::{Cuda, Driver, Gpu, GpuBuffer, Math};
use sci_hpc::backend::optimize::Adam;
use sci_hpc::backend::random::{Purpose, Stream};
use sci_hpc::backend::{Backend, Buffers, Cpu, simd};
use sci_hpc::config::{self, Loss};
use sci_hpc::dataset::{Batch, Cursor};
use sci_hpc::model::{Autoencoder, Cost, Graph, Shape, init, zoo};
use sci_hpc::train::{Adding, Method, Optimizer, Trainer};
use sci_hpc::world::{World, shard};

/// Times one training step (forward, sum of squares, backward, Adam), the encoder and the decoder.
#[derive(Parser)]
struct Arguments {
    /// Architecture, as in the job file.
    #[arg(long, default_value = "backbone")]
    model: String,
    /// Depth, height and width of a sample.
    #[arg(long, default_value = "91x85x32")]
    grid: String,
    /// Samples per step.
    #[arg(long, default_value_t = 4)]
    batch: usize,
    /// Parts whose gradients are computed one after the other and added.
    #[arg(long, default_value_t = 1)]
    shards: usize,
    /// Recompute activations.
    #[arg(long)]
    recompute: bool,
    /// cpu, cuda, or emulated (a build with `--features emulate`).
    #[arg(long, default_value = "cpu")]
    device: String,
    /// On a GPU: f32, tf32 or bf16.
    #[arg(long, default_value = "f32")]
    precision: String,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Timed repetitions after two warm-ups.
    #[arg(long, default_value_t = 5)]
    reps: usize,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let arguments = Arguments::parse();
    rayon::ThreadPoolBuilder::new().num_threads(arguments.threads).build_global().expect("first use of the pool");
    let graph = graph(&arguments);
    let mut line = match arguments.device.as_str() {
        "cpu" => {
            let mut line = measure(&arguments, &graph, &Cpu::<f32>::new());
            let peak = peak_gflops();
            line["instructions"] = simd::instruction_set().into();
            line["peak_gflops_per_s"] = peak.into();
            line["share_of_peak"] = (line["gflops_per_s"].as_f64().expect("a rate") / peak).into();
            line
        }
        "cuda" => {
            let cuda = Cuda::open(0).unwrap_or_else(|error| panic!("{error}"));
            let mut line = on_gpu(&arguments, &graph, cuda.clone());
            line["gpu"] = cuda.name().into();
            line
        }
        #[cfg(feature = "emulate")]
        "emulated" => on_gpu(&arguments, &graph, sci_hpc::backend::gpu::Emulated::default()),
        other => panic!("no device `{other}`: cpu, cuda, or emulated in a build with that feature"),
    };
    line["device"] = arguments.device.clone().into();
    println!("{line}");
}

/// The measurement on a GPU; launches and waits of one step are counted after the timing. The first step is computed op by op,
/// the second recorded and replayed: one launch for forward and backward pass.
fn on_gpu<D: Driver>(arguments: &Arguments, graph: &Graph, driver: D) -> serde_json::Value
where
    Gpu<D, f32>: Backend<Real = f32> + Buffers<Buffer = GpuBuffer<D, f32>>,
{
    let math = match arguments.precision.as_str() {
        "f32" => Math::Exact,
        "tf32" => Math::Tf32,
        "bf16" => Math::Bf16,
        other => panic!("no precision `{other}`: f32, tf32 or bf16"),
    };
    let gpu = Gpu::<D, f32>::new(driver.clone(), math);
    let mut line = measure(arguments, graph, &gpu);
    let (params, world) = (init::start_values(graph, 42), World::serial());
    let mut trainer = trainer(arguments, graph, &params, (&world, &gpu));
    let batch = batch(arguments, graph);
    for how in ["op_by_op", "replayed"] {
        let before = driver.counts();
        trainer.step(&batch, Some(&batch), false).expect("a finite step");
        let after = driver.counts();
        line[format!("launches_{how}")] = (after.launches - before.launches).into();
        line[format!("waits_{how}")] = (after.waits - before.waits).into();
    }
    line["precision"] = arguments.precision.clone().into();
    line["memory_peak_bytes"] = gpu.memory_peak_bytes().into();
    line
}

fn measure<B: Backend<Real = f32>>(arguments: &Arguments, graph: &Graph, backend: &B) -> serde_json::Value {
    let cost = Cost::of_training(graph, arguments.recompute);
    let params = init::start_values(graph, 42);
    let world = World::serial();
    let mut trainer = trainer(arguments, graph, &params, (&world, backend));
    let batch = batch(arguments, graph);
    let train_step_s =
        Clock::median(arguments.reps, || trainer.step(&batch, Some(&batch), false).expect("a finite step"));
    let (encode_s, decode_s) = inference_s(arguments, graph, &params, backend);
    #[allow(clippy::cast_precision_loss)]
    let flops = cost.train_flops as f64 * arguments.batch as f64;
    let latent = graph.latent();
    serde_json::json!({
        "model": arguments.model,
        "params": cost.params,
        "batch": arguments.batch,
        "shards": arguments.shards,
        "recompute": arguments.recompute,
        "tape_bytes": cost.tape_bytes,
        "threads": arguments.threads,
        "amp": "off",
        "channels_last": true,
        "train_step_s": train_step_s,
        "latent": [latent.channels, latent.grid[0], latent.grid[1], latent.grid[2]],
        "encode_s": encode_s,
        "decode_s": decode_s,
        "flops": flops,
        "gflops_per_s": flops / train_step_s * 1e-9,
    })
}

fn graph(arguments: &Arguments) -> Graph {
    let name = serde_json::from_value(arguments.model.clone().into()).expect("a model of `sci-hpc models`");
    let grid: Vec<usize> = arguments.grid.split('x').map(|n| n.parse().expect("a grid like 91x85x32")).collect();
    let grid = grid.try_into().expect("a grid of three extents");
    zoo::build(&config::Model { name, ..Default::default() }, Shape { grid, channels: 1 })
        .expect("a grid of this model")
}

fn samples(arguments: &Arguments, shape: Shape) -> Array5<f32> {
    let [d, h, w] = shape.grid;
    let len = d * h * w * shape.channels;
    #[allow(clippy::cast_possible_truncation)]
    let values = (0..arguments.batch * len).map(|i| {
        let stream = Stream::new(42, Purpose::Model, (i / len) as u64, 0);
        stream.normals((i % len) as u32)[0] as f32
    });
    Array5::from_shape_vec((arguments.batch, d, h, w, shape.channels), values.collect()).expect("as many values")
}

fn trainer<'a, B: Backend<Real = f32>>(
    arguments: &Arguments,
    graph: &'a Graph,
    params: &[f32],
    (world, backend): (&'a World, &B),
) -> Trainer<'a, B> {
    let method = Method {
        loss: Loss::Squared,
        penalty: None,
        principal: false,
        adding: Adding { shards: arguments.shards, bucket_bytes: 4 << 20, fast: false },
        staged: false,
        observing: None,
        seed: 7,
        recompute: arguments.recompute,
    };
    let optimizer = Optimizer::new(backend, graph.params.trainable_len(), Adam::new(2.0e-4));
    Trainer::new(world, backend, (graph, params), (method, optimizer))
}

fn batch(arguments: &Arguments, graph: &Graph) -> Batch {
    Batch {
        values: samples(arguments, graph.sample()),
        valid: None,
        samples: (0..arguments.batch).collect(),
        shards: (0..arguments.shards).map(|s| shard::range(arguments.batch, arguments.shards, s)).collect(),
        global: arguments.batch,
        cursor: Cursor::default(),
    }
}

fn inference_s<B: Backend<Real = f32>>(
    arguments: &Arguments,
    graph: &Graph,
    params: &[f32],
    backend: &B,
) -> (f64, f64) {
    let model = Autoencoder::new(backend.clone(), graph.clone(), params).expect("the parameters of this graph");
    let x = samples(arguments, graph.sample()).into_raw_vec_and_offset().0;
    let z = model.encode(&x);
    (Clock::median(arguments.reps, || model.encode(&x)), Clock::median(arguments.reps, || model.decode(&z)))
}
