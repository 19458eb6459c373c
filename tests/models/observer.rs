//! The observation encoder: which networks it is built for, what its training moves, and which way.

use ndarray::Array5;
use sci_hpc::backend::optimize::Adam;
use sci_hpc::backend::{Cpu, Real};
use sci_hpc::config::{Channels, Model, ModelName, Train};
use sci_hpc::dataset::{Batch, Cursor, Places};
use sci_hpc::model::{Autoencoder, Graph, ModelError, Parts, Shape, init, zoo};
use sci_hpc::train::{Adding, Method, Optimizer, Trainer};
use sci_hpc::world::World;

use crate::common::noise;

const SHAPE: Shape = Shape { grid: [8, 12, 9], channels: 2 };
const ROWS: usize = 3;
const RATE: f64 = 1e-3;

fn section(name: ModelName) -> Train {
    let layers = matches!(name, ModelName::Rdb | ModelName::Resnext).then_some(3);
    Train { model: Model { name, layers, ..Model::default() }, ..Train::default() }
}

/// Weights as they are drawn, and those of the encoder once more.
fn values(graph: &Graph) -> Vec<f32> {
    let mut values = init::start_values(graph, 7);
    for spec in graph.params.specs() {
        let copied = spec.name.strip_prefix("observer.").filter(|name| name.starts_with("encoder."));
        if let Some(from) = copied.map(|name| graph.params.named(name).unwrap().range()) {
            values.copy_within(from, spec.offset);
        }
    }
    values
}

#[test]
fn every_network_has_an_observation_encoder_with_the_layers_of_its_encoder() {
    use ModelName::{Backbone, Dense, Grdn, Overcomplete, Pca, Rab, Rdb, Resnext, Tucodec};
    for name in [Backbone, Dense, Grdn, Overcomplete, Pca, Rab, Rdb, Resnext, Tucodec] {
        let grid = if name == Tucodec { [16, 16, 16] } else { SHAPE.grid };
        let sample = Shape { grid, ..SHAPE };
        let plain = zoo::trained(&section(name), sample).unwrap();
        let graph = zoo::observing(&section(name), sample).unwrap();
        graph.check().unwrap();
        let observer = graph.observer.clone().unwrap();
        assert_eq!((observer.program.input.channels, observer.program.output()), (4, plain.latent()), "{name:?}");
        for spec in plain.params.specs() {
            let own = graph.params.named(&spec.name).unwrap();
            assert_eq!((&own.shape, own.statistic), (&spec.shape, spec.statistic), "{name:?}");
            // Every weight of the encoder is there again; the published GRDN has some that nothing reads.
            let again = graph.params.named(&format!("observer.{}", spec.name));
            let of_encoder = spec.name.starts_with("encoder.");
            assert!(name == Grdn || again.is_some() == of_encoder, "{name:?}: {}", spec.name);
            assert!(again.is_none_or(|again| of_encoder && again.shape == spec.shape), "{name:?}: {}", spec.name);
        }
        // What is filled in goes through the layers of the encoder.
        let layers = &observer.program.nodes[observer.program.nodes.len() - plain.encoder.nodes.len()..];
        let same = layers.iter().zip(&plain.encoder.nodes).all(|(ours, theirs)| {
            std::mem::discriminant(&ours.op) == std::mem::discriminant(&theirs.op) && ours.shape == theirs.shape
        });
        assert!(same, "{name:?}");
        let mut bad = graph.clone();
        bad.observer.as_mut().unwrap().program.input.channels = 2;
        assert!(matches!(bad.check(), Err(ModelError::BadGraph { .. })), "{name:?}");
    }
    // Curves have one axis.
    zoo::observing(&section(Dense), Shape { grid: [1, 1, 40], channels: 1 }).unwrap().check().unwrap();
}

/// Samples of which some values do not count.
fn batch() -> Batch {
    let [d, h, w] = SHAPE.grid;
    let array = |values: Vec<f32>| Array5::from_shape_vec((ROWS, d, h, w, SHAPE.channels), values).unwrap();
    let (values, chance) = (noise(3, ROWS * SHAPE.len()), noise(4, ROWS * SHAPE.len()));
    let valid: Vec<f32> = chance.iter().map(|&c| f32::from(c > -0.8)).collect();
    Batch {
        values: array(values.iter().zip(&valid).map(|(&v, &counts)| v as f32 * counts).collect()),
        valid: Some(array(valid)),
        samples: vec![5, 0, 9],
        shards: vec![0..2, 2..3],
        global: ROWS,
        cursor: Cursor { epoch: 2, batch: 0 },
    }
}

/// What the training makes small, in f64: all valid values of the batch against what follows from those that are seen.
fn loss(graph: &Graph, params: &[f32], places: &Places) -> f64 {
    let network = Autoencoder::new(Cpu::<f64>::new(), graph.clone(), params).unwrap();
    let batch = batch();
    let (values, valid) = (batch.values.as_slice().unwrap(), batch.valid.as_ref().unwrap().as_slice().unwrap());
    let (n, c) = (SHAPE.len(), SHAPE.channels);
    let mut sum = 0.0;
    for (row, &sample) in batch.samples.iter().enumerate() {
        let (values, valid) = (&values[row * n..(row + 1) * n], &valid[row * n..(row + 1) * n]);
        let mut seen = vec![0.0; 2 * n];
        for at in places.of(sample, 2).into_iter().filter(|&at| valid[at] > 0.0) {
            seen[at / c * 2 * c + at % c] = f64::from(values[at]);
            seen[at / c * 2 * c + c + at % c] = 1.0;
        }
        let y = network.decode(&network.observe(&seen));
        let left = |i: usize| f64::from(valid[i]) * (y[i].to_f64() - f64::from(values[i]));
        sum += (0..n).map(|i| left(i).powi(2)).sum::<f64>();
    }
    sum
}

#[test]
fn training_moves_the_observation_encoder_alone_and_downhill() {
    for name in [ModelName::Backbone, ModelName::Dense] {
        let mut section = section(name);
        // Few layers, whose gradients do not vanish.
        section.model.channels = (name == ModelName::Backbone).then(|| Channels::Each(vec![2, 6, 4]));
        let graph = zoo::observing(&section, SHAPE).unwrap();
        let (world, backend) = (World::serial(), Cpu::<f32>::new());
        let start: Vec<f32> = values(&graph).iter().map(|value| 1.5 * value).collect();
        let places = Places::new(&vec![true; SHAPE.len()], 200, (3, false)).unwrap();
        let method = Method {
            adding: Adding { shards: 2, bucket_bytes: 1 << 12, fast: false },
            observing: Some(places.clone()),
            ..crate::method()
        };
        let optimizer = Optimizer::new(&backend, graph.params.trainable_len(), Adam::new(RATE));
        let mut trainer = Trainer::new(&world, &backend, (&graph, &start), (method.clone(), optimizer));
        let first = trainer.step(&batch(), None, false).unwrap().loss;
        let told = loss(&graph, &start, &places);
        assert!((first / told - 1.0).abs() < 1e-5, "{name:?}: {first} {told}");

        // The first step of Adam is its rate against the sign of the gradient.
        let after = trainer.params();
        let mut tried = 0;
        for spec in graph.params.trainable() {
            let moves = spec.name.starts_with("observer.");
            let range = spec.range();
            assert!(moves || after[range.clone()] == start[range.clone()], "{name:?}: {} moved", spec.name);
            for i in range.clone().step_by((range.len() / 2).max(1)).filter(|_| moves) {
                const STEP: f32 = 1e-3;
                let moved = |by: f32| {
                    let mut params = start.clone();
                    params[i] += by;
                    loss(&graph, &params, &places)
                };
                let slope = (moved(STEP) - moved(-STEP)) / f64::from(2.0 * STEP);
                if slope.abs() > 1e-2 {
                    let step = f64::from(after[i]) - f64::from(start[i]);
                    assert!(
                        (step + RATE * slope.signum()).abs() < 0.02 * RATE,
                        "{name:?} {}: {step}, {slope}",
                        spec.name
                    );
                    tried += 1;
                }
            }
        }
        assert!(tried > 20, "{name:?}: {tried}");
        let optimizer = Optimizer::new(&backend, graph.params.trainable_len(), Adam::new(RATE));
        let parts = Parts::of(&graph.observing());
        assert!(parts.iter().flat_map(Parts::parts).any(|part| part.again), "{name:?}: nothing is recomputed");
        let recomputing = Method { recompute: true, ..method };
        let mut again = Trainer::new(&world, &backend, (&graph, &start), (recomputing, optimizer));
        again.step(&batch(), None, false).unwrap();
        assert!(again.params() == after, "{name:?}: what is recomputed is the same");
        let last = (0..30).map(|_| trainer.step(&batch(), None, false).unwrap().loss).last().unwrap();
        assert!(last < 0.99 * first, "{name:?}: {first} to {last}");
    }
}

#[test]
fn statistics_of_batch_norms_that_do_not_run_stay() {
    let graph = zoo::observing(&section(ModelName::Rdb), SHAPE).unwrap();
    let (world, backend, start) = (World::serial(), Cpu::<f32>::new(), values(&graph));
    let places = Places::new(&vec![true; SHAPE.len()], 200, (3, true)).unwrap();
    let method = Method { observing: Some(places), ..crate::method() };
    let optimizer = Optimizer::new(&backend, graph.params.trainable_len(), Adam::new(RATE));
    let mut trainer = Trainer::new(&world, &backend, (&graph, &start), (method, optimizer));
    let whole = Batch { shards: std::iter::once(0..ROWS).collect(), ..batch() };
    trainer.step(&whole, None, false).unwrap();
    let after = trainer.params();
    let mut moved = 0;
    for spec in graph.params.specs().iter().filter(|spec| spec.statistic) {
        let same = after[spec.range()] == start[spec.range()];
        assert_eq!(same, !spec.name.starts_with("observer."), "{}", spec.name);
        moved += usize::from(!same);
    }
    assert!(moved > 0);
}
