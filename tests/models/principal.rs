//! Principal components by passes, against the singular values of the same samples.

use faer::{Mat, Side};
use ndarray::Array5;
use sci_hpc::backend::optimize::Adam;
use sci_hpc::backend::{Backend, Cpu};
use sci_hpc::config;
use sci_hpc::dataset::{Batch, Cursor};
use sci_hpc::model::{Autoencoder, Graph, Shape, init, zoo};
use sci_hpc::train::{Adding, Method, Optimizer, Trainer};
use sci_hpc::world::World;

use crate::common::{assert_close, noise};

/// Samples of which components are asked for.
struct Case {
    grid: [usize; 3],
    samples: usize,
    latent: usize,
    /// Each pattern half as high as the one before.
    patterns: usize,
    noise: f64,
    /// Part of the values that count.
    valid: f64,
}

/// Ten patterns and some noise: six components say most of it.
const USUAL: Case = Case { grid: [3, 4, 5], samples: 40, latent: 6, patterns: 12, noise: 0.01, valid: 1.0 };
const ROWS: usize = 16;

impl Case {
    fn len(&self) -> usize {
        self.grid.iter().product()
    }

    fn graph(&self) -> Graph {
        let model = format!(r#"{{"name": "pca", "latent": {}}}"#, self.latent);
        let model: config::Model = serde_json::from_str(&model).unwrap();
        zoo::build(&model, Shape { grid: self.grid, channels: 1 }).unwrap()
    }

    /// Samples about a mean far from 0, and which of their values count; the others are 0.
    fn samples(&self) -> (Vec<f32>, Vec<f32>) {
        let (n, count) = (self.len(), self.samples);
        let (shapes, heights) = (noise(1, self.patterns * n), noise(2, count * self.patterns));
        let (mean, rest, chance) = (noise(3, n), noise(4, count * n), noise(5, count * n));
        let value = |s: usize, i: usize| {
            let of = |p: usize| heights[s * self.patterns + p] * shapes[p * n + i] * 0.5f64.powi(p as i32);
            5.0 * mean[i] + (0..self.patterns).map(of).sum::<f64>() + self.noise * rest[s * n + i]
        };
        let valid: Vec<f32> = chance.iter().map(|c| f32::from(u8::from(0.5 * (c + 1.0) < self.valid))).collect();
        ((0..count * n).map(|at| valid[at] * value(at / n, at % n) as f32).collect(), valid)
    }

    /// Parameters after some passes in batches of 16, and what the last says is left.
    fn pass<B: Backend<Real = f32>>(&self, backend: &B, passes: u32) -> (Vec<f32>, f64) {
        let (world, graph, [d, h, w]) = (World::serial(), self.graph(), self.grid);
        let (samples, valid) = self.samples();
        let method =
            Method { principal: true, adding: Adding { shards: 2, ..crate::method().adding }, ..crate::method() };
        let optimizer = Optimizer::new(backend, graph.params.trainable_len(), Adam::new(1.0e-3));
        let mut trainer = Trainer::new(&world, backend, (&graph, &init::start_values(&graph, 7)), (method, optimizer));
        let mut left = f64::NAN;
        for epoch in 0..passes {
            let (mut loss, size) = (0.0, ROWS * self.len());
            for (number, (rows, valid)) in samples.chunks(size).zip(valid.chunks(size)).enumerate() {
                let count = rows.len() / self.len();
                let array = |values: &[f32]| Array5::from_shape_vec((count, d, h, w, 1), values.to_vec()).unwrap();
                let batch = Batch {
                    valid: (self.valid < 1.0).then(|| array(valid)),
                    values: array(rows),
                    samples: (0..count).collect(),
                    shards: vec![0..count / 2, count / 2..count],
                    global: count,
                    cursor: Cursor { epoch, batch: number },
                };
                loss += trainer.step(&batch, None, false).unwrap().loss;
            }
            let end = Cursor { epoch, batch: samples.chunks(size).count() };
            left = trainer.end_epoch(end, (loss, self.samples as f64)).unwrap().unwrap();
        }
        (trainer.params(), left)
    }

    /// Mean of the samples, and the squared singular values about it.
    fn exact(&self) -> (Vec<f64>, Vec<f64>) {
        let (n, (samples, _)) = (self.len(), self.samples());
        let of = |i: usize| samples[i..].iter().step_by(n).map(|&v| f64::from(v)).sum::<f64>() / self.samples as f64;
        let mean: Vec<f64> = (0..n).map(of).collect();
        let centered = Mat::from_fn(self.samples, n, |s, i| f64::from(samples[s * n + i]) - mean[i]);
        let mut squares = (&centered * centered.transpose()).self_adjoint_eigenvalues(Side::Lower).unwrap();
        squares.reverse();
        (mean, squares)
    }

    /// Latents and reconstructions of the samples.
    fn through(&self, params: &[f32]) -> (Vec<f64>, Vec<f64>) {
        let wide = |values: Vec<f32>| values.into_iter().map(f64::from).collect();
        let model = Autoencoder::new(Cpu::<f32>::new(), self.graph(), params).unwrap();
        let z = model.encode(&self.samples().0);
        (wide(z.clone()), wide(model.decode(&z)))
    }

    /// Squared error of all samples.
    fn error(&self, params: &[f32]) -> f64 {
        self.samples().0.iter().zip(self.through(params).1).map(|(&x, y)| (f64::from(x) - y).powi(2)).sum()
    }
}

#[test]
fn components_are_those_of_the_samples_in_their_order() {
    let (mean, squares) = USUAL.exact();
    let (params, left) = USUAL.pass(&Cpu::<f32>::new(), 14);
    let (k, n) = (USUAL.latent, USUAL.len());
    // 1. What is left is what no other six directions leave less of.
    let (least, error) = (squares[k..].iter().sum::<f64>(), USUAL.error(&params));
    assert!((error / least - 1.0).abs() < 1e-3 && (left / least - 1.0).abs() < 1e-3, "{error}, told {left}, {least}");
    // 2. Variances are the squared singular values, the largest first, about a latent of 0.
    let (z, _) = USUAL.through(&params);
    let found: Vec<f64> = (0..k).map(|j| z[j..].iter().step_by(k).map(|z| z * z).sum()).collect();
    assert_close(&found, &squares[..k], 0.0, 1e-3);
    let sums: Vec<f64> = (0..k).map(|j| z[j..].iter().step_by(k).sum()).collect();
    assert_close(&sums, &vec![0.0; k], 1e-3, 0.0);
    // 3. Components are orthonormal, and the decoder's bias is the mean.
    let graph = USUAL.graph();
    let of = |name: &str| {
        let mut specs = graph.params.specs().iter();
        let spec = specs.find(|spec| spec.name.starts_with("decoder") && spec.name.ends_with(name)).unwrap();
        params[spec.range()].iter().map(|&v| f64::from(v)).collect::<Vec<f64>>()
    };
    let (weight, bias) = (of("weight"), of("bias"));
    for i in 0..k * k {
        let (a, b) = (&weight[i / k * n..][..n], &weight[i % k * n..][..n]);
        let product: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
        assert!((product - f64::from(u8::from(i / k == i % k))).abs() < 1e-5, "{i}: {product}");
    }
    assert_close(&bias, &mean, 1e-5, 1e-5);
}

#[test]
fn values_that_do_not_count_are_zeros_and_large_samples_and_few_or_many_components_are_served() {
    for (what, case) in [
        ("gaps", Case { valid: 0.7, noise: 0.0, ..USUAL }),
        ("two chunks of values", Case { grid: [9, 20, 25], ..USUAL }),
        ("one component", Case { latent: 1, ..USUAL }),
        ("one value", Case { grid: [1, 1, 1], latent: 1, ..USUAL }),
        ("as many components as values", Case { grid: [1, 2, 3], latent: 6, ..USUAL }),
    ] {
        let (params, left) = case.pass(&Cpu::<f32>::new(), 60);
        let squares = case.exact().1;
        let (least, all) = (squares[case.latent..].iter().sum::<f64>(), squares.iter().sum::<f64>());
        let error = case.error(&params);
        assert!((error - least).abs() < 2e-3 * least + 1e-6 * all, "{what}: {error}, {least} of {all}");
        assert!((left - least).abs() < 2e-3 * least + 1e-5 * all, "{what}: told {left}, {least} of {all}");
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let case = Case { grid: [9, 20, 25], ..USUAL };
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| case.pass(&Cpu::<f32>::new(), 3))
    };
    assert!(on(1) == on(4));
}

#[test]
fn samples_of_fewer_dimensions_come_back_and_the_other_components_are_nothing() {
    for case in [Case { patterns: 3, noise: 0.0, ..USUAL }, Case { samples: 4, ..USUAL }] {
        let (params, left) = case.pass(&Cpu::<f32>::new(), 8);
        let (z, back) = case.through(&params);
        let wide: Vec<f64> = case.samples().0.iter().map(|&x| f64::from(x)).collect();
        assert_close(&back, &wide, 1e-4, 0.0);
        assert!(left < 1e-5 * case.exact().1[0], "{left}");
        assert!(z.chunks(case.latent).all(|z| z[3..].iter().all(|z| z.abs() < 1e-3)));
    }
}

#[cfg(feature = "emulate")]
#[test]
fn passes_on_the_kernels_of_the_gpu_find_what_those_of_the_cpu_find() {
    use sci_hpc::backend::gpu::{Emulated, Gpu, Math};
    let (cpu, left) = USUAL.pass(&Cpu::<f32>::new(), 14);
    let (gpu, same) = USUAL.pass(&Gpu::<_, f32>::new(Emulated::default(), Math::Exact), 14);
    assert!((same / left - 1.0).abs() < 1e-4, "{same} and {left}");
    assert_close(&USUAL.through(&gpu).1, &USUAL.through(&cpu).1, 1e-3, 0.0);
}
