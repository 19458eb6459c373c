//! Principal components by passes, against the singular values of the same samples.

use faer::{Mat, Side};
use ndarray::Array5;
use sci_hpc::backend::optimize::Adam;
use sci_hpc::backend::{Backend, Cpu};
use sci_hpc::config::{self, Loss};
use sci_hpc::dataset::{Batch, Cursor};
use sci_hpc::model::{Autoencoder, Graph, Shape, init, zoo};
use sci_hpc::train::{Method, Optimizer, Trainer};
use sci_hpc::world::World;

use crate::common::{assert_close, noise};

const SHAPE: Shape = Shape { grid: [3, 4, 5], channels: 1 };
const SAMPLES: usize = 40;
const ROWS: usize = 16;
const LATENT: usize = 6;

fn graph() -> Graph {
    let model = format!(r#"{{"name": "pca", "latent": {LATENT}}}"#);
    zoo::build(&serde_json::from_str::<config::Model>(&model).unwrap(), SHAPE).unwrap()
}

/// Samples about a mean far from 0: sums of a few patterns, each half as high as the one before, and some noise.
fn samples(patterns: usize) -> Vec<f32> {
    let n = SHAPE.len();
    let (shapes, heights) = (noise(1, patterns * n), noise(2, SAMPLES * patterns));
    let (mean, rest) = (noise(3, n), noise(4, SAMPLES * n));
    let value = |s: usize, i: usize| {
        let sum: f64 =
            (0..patterns).map(|p| heights[s * patterns + p] * shapes[p * n + i] * 0.5f64.powi(p as i32)).sum();
        5.0 * mean[i] + sum + if patterns > LATENT { 0.01 * rest[s * n + i] } else { 0.0 }
    };
    (0..SAMPLES * n).map(|at| value(at / n, at % n) as f32).collect()
}

/// Parameters after some passes in batches of 16, 16 and 8, and what the last says is left.
fn pass<B: Backend<Real = f32>>(backend: &B, samples: &[f32], passes: u32) -> (Vec<f32>, f64) {
    let (world, graph, [d, h, w]) = (World::serial(), graph(), SHAPE.grid);
    let method =
        Method { loss: Loss::Squared, penalty: None, principal: true, shards: 2, bucket_bytes: 1 << 20, fast: false };
    let optimizer = Optimizer::new(backend, graph.params.trainable_len(), Adam::new(1.0e-3));
    let mut trainer = Trainer::new(&world, backend, (&graph, &init::start_values(&graph, 7)), (method, optimizer));
    let mut left = f64::NAN;
    for epoch in 0..passes {
        let mut loss = 0.0;
        for (number, rows) in samples.chunks(ROWS * SHAPE.len()).enumerate() {
            let count = rows.len() / SHAPE.len();
            let batch = Batch {
                valid: None,
                values: Array5::from_shape_vec((count, d, h, w, 1), rows.to_vec()).unwrap(),
                samples: (0..count).collect(),
                shards: vec![0..count / 2, count / 2..count],
                global: count,
                cursor: Cursor { epoch, batch: number },
            };
            loss += trainer.step(&batch, None, false).unwrap().loss;
        }
        left = trainer.end_epoch(loss, SAMPLES as f64).unwrap();
    }
    (trainer.params(), left)
}

/// Mean of the samples, and the squared singular values about it.
fn exact(samples: &[f32]) -> (Vec<f64>, Vec<f64>) {
    let n = SHAPE.len();
    let mean: Vec<f64> =
        (0..n).map(|i| samples[i..].iter().step_by(n).map(|&v| f64::from(v)).sum::<f64>() / SAMPLES as f64).collect();
    let centered = Mat::from_fn(SAMPLES, n, |s, i| f64::from(samples[s * n + i]) - mean[i]);
    let mut squares = (&centered * centered.transpose()).self_adjoint_eigenvalues(Side::Lower).unwrap();
    squares.reverse();
    (mean, squares)
}

/// Latents and reconstructions of the samples.
fn through(params: &[f32], samples: &[f32]) -> (Vec<f64>, Vec<f64>) {
    let wide = |values: Vec<f32>| values.into_iter().map(f64::from).collect();
    let model = Autoencoder::new(Cpu::<f32>::new(), graph(), params).unwrap();
    let z = model.encode(samples);
    (wide(z.clone()), wide(model.decode(&z)))
}

#[test]
fn components_are_those_of_the_samples_in_their_order() {
    let samples = samples(12);
    let (mean, squares) = exact(&samples);
    let (params, left) = pass(&Cpu::<f32>::new(), &samples, 14);
    let (z, back) = through(&params, &samples);
    // 1. What is left is what no other six directions leave less of.
    let least: f64 = squares[LATENT..].iter().sum();
    let error: f64 = samples.iter().zip(&back).map(|(&x, y)| (f64::from(x) - y).powi(2)).sum();
    assert!((error / least - 1.0).abs() < 1e-3 && (left / least - 1.0).abs() < 1e-3, "{error}, told {left}, {least}");
    // 2. Variances are the squared singular values, the largest first, about a latent of 0.
    let found: Vec<f64> = (0..LATENT).map(|j| z[j..].iter().step_by(LATENT).map(|z| z * z).sum()).collect();
    assert_close(&found, &squares[..LATENT], 0.0, 1e-3);
    let sums: Vec<f64> = (0..LATENT).map(|j| z[j..].iter().step_by(LATENT).sum()).collect();
    assert_close(&sums, &[0.0; LATENT], 1e-3, 0.0);
    // 3. Components are orthonormal, and the decoder's bias is the mean.
    let n = SHAPE.len();
    let graph = graph();
    let of = |name: &str| {
        let spec =
            graph.params.specs().iter().find(|spec| spec.name.starts_with("decoder") && spec.name.ends_with(name));
        params[spec.unwrap().range()].iter().map(|&v| f64::from(v)).collect::<Vec<f64>>()
    };
    let (weight, bias) = (of("weight"), of("bias"));
    for i in 0..LATENT * LATENT {
        let (a, b) = (&weight[i / LATENT * n..][..n], &weight[i % LATENT * n..][..n]);
        let product: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
        assert!((product - f64::from(u8::from(i / LATENT == i % LATENT))).abs() < 1e-5, "{i}: {product}");
    }
    assert_close(&bias, &mean, 1e-5, 1e-5);
}

#[test]
fn samples_of_fewer_dimensions_come_back_and_the_other_components_are_nothing() {
    let samples = samples(3);
    let (params, left) = pass(&Cpu::<f32>::new(), &samples, 6);
    let (z, back) = through(&params, &samples);
    let wide: Vec<f64> = samples.iter().map(|&x| f64::from(x)).collect();
    assert_close(&back, &wide, 1e-4, 0.0);
    assert!(left < 1e-5 * exact(&samples).1[0], "{left}");
    assert!(z.chunks(LATENT).all(|z| z[3..].iter().all(|z| z.abs() < 1e-3)));
}

#[cfg(feature = "emulate")]
#[test]
fn passes_on_the_kernels_of_the_gpu_find_what_those_of_the_cpu_find() {
    use sci_hpc::backend::gpu::{Emulated, Gpu, Math};
    let samples = samples(12);
    let (cpu, left) = pass(&Cpu::<f32>::new(), &samples, 14);
    let (gpu, same) = pass(&Gpu::<_, f32>::new(Emulated::default(), Math::Exact), &samples, 14);
    assert!((same / left - 1.0).abs() < 1e-4, "{same} and {left}");
    assert_close(&through(&gpu, &samples).1, &through(&cpu, &samples).1, 1e-3, 0.0);
}
