//! One training step, the encoder and the decoder of a model on the CPU: one JSON line with medians in seconds, the
//! operations of a step and their share of the measured peak.
//!
//! `scripts/bench train-step --model backbone --grid 91x85x32 --batch 4 --threads 2`

#[path = "common/mod.rs"]
mod common;

use clap::Parser;
use common::{Clock, peak_gflops};
use ndarray::Array5;
use sci_hpc::backend::optimize::Adam;
use sci_hpc::backend::random::{Purpose, Stream};
use sci_hpc::backend::{Cpu, simd};
use sci_hpc::config::{self, Loss};
use sci_hpc::dataset::{Batch, Cursor};
use sci_hpc::model::{Autoencoder, Cost, Graph, Shape, init, zoo};
use sci_hpc::train::{Method, Optimizer, Trainer};
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
    let cost = Cost::of(&graph);
    let params = init::start_values(&graph, 42);
    let train_step_s = train_step_s(&arguments, &graph, &params);
    let (encode_s, decode_s) = inference_s(&arguments, &graph, &params);
    #[allow(clippy::cast_precision_loss)]
    let flops = cost.train_flops as f64 * arguments.batch as f64;
    let peak = peak_gflops();
    let latent = graph.latent();
    let line = serde_json::json!({
        "model": arguments.model,
        "params": cost.params,
        "batch": arguments.batch,
        "shards": arguments.shards,
        "device": "cpu",
        "threads": arguments.threads,
        "amp": "off",
        "channels_last": true,
        "instructions": simd::instruction_set(),
        "train_step_s": train_step_s,
        "latent": [latent.channels, latent.grid[0], latent.grid[1], latent.grid[2]],
        "encode_s": encode_s,
        "decode_s": decode_s,
        "flops": flops,
        "gflops_per_s": flops / train_step_s * 1e-9,
        "peak_gflops_per_s": peak,
        "share_of_peak": flops / train_step_s * 1e-9 / peak,
    });
    println!("{line}");
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

fn train_step_s(arguments: &Arguments, graph: &Graph, params: &[f32]) -> f64 {
    let (world, backend) = (World::serial(), Cpu::<f32>::new());
    let method = Method { loss: Loss::Squared, shards: arguments.shards, bucket_bytes: 4 << 20, fast: false };
    let optimizer = Optimizer::new(&backend, graph.params.trainable_len(), Adam::new(2.0e-4));
    let mut trainer = Trainer::new(&world, &backend, (graph, params), (method, optimizer));
    let batch = Batch {
        values: samples(arguments, graph.sample()),
        valid: None,
        samples: (0..arguments.batch).collect(),
        shards: (0..arguments.shards).map(|s| shard::range(arguments.batch, arguments.shards, s)).collect(),
        global: arguments.batch,
        cursor: Cursor::default(),
    };
    Clock::median(arguments.reps, || trainer.step(&batch, false).expect("a finite step"))
}

fn inference_s(arguments: &Arguments, graph: &Graph, params: &[f32]) -> (f64, f64) {
    let model = Autoencoder::new(Cpu::<f32>::new(), graph.clone(), params).expect("the parameters of this graph");
    let x = samples(arguments, graph.sample()).into_raw_vec_and_offset().0;
    let z = model.encode(&x);
    (Clock::median(arguments.reps, || model.encode(&x)), Clock::median(arguments.reps, || model.decode(&z)))
}
