//! Steps that are recorded and replayed on the emulated GPU follow those of the CPU, and wait twice each: for the loss and for the
//! norm of the gradient, which stays on the device.

use ndarray::Array5;
use sci_hpc::backend::gpu::{Driver, Emulated, Gpu, Math};
use sci_hpc::backend::optimize::Adam;
use sci_hpc::backend::{Backend, Cpu};
use sci_hpc::config;
use sci_hpc::dataset::{Batch, Cursor};
use sci_hpc::model::{Graph, Parts, Shape, init, zoo};
use sci_hpc::train::{Method, Optimizer, Trainer};
use sci_hpc::world::World;

use crate::common::{assert_close, noise};

const SHAPE: Shape = Shape { grid: [12, 10, 8], channels: 1 };
const ROWS: usize = 2;

/// Plain, with batch norm and divisive normalization, and with residual blocks.
const MODELS: [&str; 3] = [
    r#"{"name": "backbone", "channels": [1, 3, 4, 2]}"#,
    r#"{"name": "backbone", "channels": [1, 3, 4, 2], "batch_norm": true, "activation": "gdn"}"#,
    r#"{"name": "resnext", "layers": 3, "cardinality": 2}"#,
];

fn graph(model: &str) -> Graph {
    let model: config::Model = serde_json::from_str(model).unwrap();
    zoo::build(&model, SHAPE).unwrap()
}

/// Batch `number` of two samples, half of whose values count.
fn batch(number: usize) -> Batch {
    let [d, h, w] = SHAPE.grid;
    let array = |values: Vec<f32>| Array5::from_shape_vec((ROWS, d, h, w, 1), values).unwrap();
    let values = noise(number as u64, ROWS * SHAPE.len());
    Batch {
        valid: Some(array(values.iter().map(|&v| f32::from(v > 0.0)).collect())),
        values: array(values.iter().map(|&v| v as f32).collect()),
        samples: (0..ROWS).collect(),
        shards: std::iter::once(0..ROWS).collect(),
        global: ROWS,
        cursor: Cursor { epoch: 0, batch: number },
    }
}

/// Losses of six steps and the parameters after them; `after` is called after each step.
fn train<B: Backend<Real = f32>>(
    graph: &Graph,
    (backend, [ahead, recompute]): (&B, [bool; 2]),
    mut after: impl FnMut(),
) -> (Vec<f64>, Vec<f64>) {
    let world = World::serial();
    let optimizer = Optimizer::new(backend, graph.params.trainable_len(), Adam::new(1.0e-3));
    let params = init::start_values(graph, 7);
    let mut trainer =
        Trainer::new(&world, backend, (graph, &params), (Method { recompute, ..crate::method() }, optimizer));
    let mut losses = Vec::new();
    for number in 0..6 {
        let next = batch(number + 1);
        losses.push(trainer.step(&batch(number), ahead.then_some(&next), false).unwrap().loss);
        after();
    }
    (losses, trainer.params().into_iter().map(f64::from).collect())
}

#[test]
fn replayed_steps_follow_the_cpu_and_wait_twice() {
    for model in MODELS {
        let graph = graph(model);
        assert!(Parts::of(&graph).iter().flat_map(Parts::parts).any(|part| part.again), "{model}");
        let (losses, params) = train(&graph, (&Cpu::<f32>::new(), [false; 2]), || {});
        let mut made = Vec::new();
        for how in [[false; 2], [true, false], [false, true]] {
            let driver = Emulated::default();
            let mut waits = vec![driver.counts().waits];
            let gpu = Gpu::<_, f32>::new(driver.clone(), Math::Exact);
            made.push(train(&graph, (&gpu, how), || waits.push(driver.counts().waits)));
            let each: Vec<u64> = waits.windows(2).map(|pair| pair[1] - pair[0]).collect();
            assert_eq!(each, [2; 6], "{model}");
            let made = made.last().unwrap();
            if graph.params.trainable_len() == graph.params.len() {
                assert_close(&made.0, &losses, 0.0, 1e-5);
                assert_close(&made.1, &params, 1e-5, 1e-4);
            } else {
                // A bias before a batch norm has no gradient but rounding, of which Adam makes whole steps.
                assert_close(&made.0[..3], &losses[..3], 0.0, 1e-5);
                assert_close(&made.0, &losses, 0.0, 1e-3);
            }
        }
        assert_eq!(made[0], made[1], "{model}: batches copied ahead are the same batches");
        assert_eq!(made[0], made[2], "{model}: what is recomputed is the same");
    }
}
