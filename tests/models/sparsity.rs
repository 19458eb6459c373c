//! Penalties on latents against sums written out and finite differences; k-sparse latents; weights of norm 1.

use sci_hpc::backend::topk::TopK;
use sci_hpc::backend::{Buffers, Cpu};
use sci_hpc::config::{LatentMap, Model, ModelName, Sparsity};
use sci_hpc::model::{Autoencoder, Shape, graph::Op, init, zoo};
use sci_hpc::tape::Tape;
use sci_hpc::train::sparsity;

use crate::common::assert_close;

const MAPS: [LatentMap; 5] =
    [LatentMap::Identity, LatentMap::Weighted, LatentMap::Group, LatentMap::Difference, LatentMap::Haar];

fn values(n: usize) -> Vec<f64> {
    (0..n).map(|i| (1.7 * i as f64 + 0.3).sin() * (1.0 + (i % 5) as f64)).collect()
}

/// Root mean square.
fn rms(z: &[f64]) -> f64 {
    (z.iter().map(|z| z * z).sum::<f64>() / z.len() as f64).sqrt()
}

/// ||f(z)||_1 / rms(z) and its gradient.
fn norm(map: LatentMap, z: &[f64], shape: [usize; 5]) -> (f64, Vec<f64>) {
    let tape = Tape::recording(Cpu::<f64>::new());
    let z = tape.leaf(tape.backend().upload(z), shape);
    let sparsity = Sparsity { weight: 1.0, map, group: (map == LatentMap::Group).then_some(3), warmup: 0.0 };
    let norm = sparsity::norm(&tape, &sparsity, &z);
    let gradient = tape.grad(&norm, None, &[&z]).remove(0);
    (tape.download(&norm)[0], tape.download(&gradient))
}

#[test]
fn norms_of_a_vector_are_those_written_out() {
    let z = [3.0, -1.0, 0.0, 2.0, -4.0];
    let root = 2f64.sqrt();
    for (map, want) in [
        (LatentMap::Identity, 10.0),
        (LatentMap::Weighted, (3.0 + 2.0 + 4.0 * 2.0 + 5.0 * 4.0) / 3.0),
        (LatentMap::Group, 10f64.sqrt() + 20f64.sqrt()),
        (LatentMap::Difference, 4.0 + 1.0 + 2.0 + 6.0),
        (LatentMap::Haar, (2.0 + 4.0 + 2.0 + 2.0) / root + 4.0),
    ] {
        assert_close(&[norm(map, &z, [1, 1, 1, 1, 5]).0], &[want / rms(&z)], 1e-5, 1e-9);
        // Of twice the values it is the same: shrinking saves nothing.
        let twice = z.map(|z| 2.0 * z);
        assert_close(&[norm(map, &twice, [1, 1, 1, 1, 5]).0], &[want / rms(&z)], 1e-5, 1e-9);
    }
}

#[test]
fn norms_on_a_grid_are_those_of_its_axes() {
    let shape = [2, 1, 3, 2, 2];
    let z = values(24);
    let at = |n: usize, y: usize, x: usize, c: usize| z[((n * 3 + y) * 2 + x) * 2 + c];
    let (mut difference, mut haar) = (0.0, 0.0);
    for (n, c) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        for y in 0..3 {
            difference += (at(n, y, 1, c) - at(n, y, 0, c)).abs();
            for x in 0..2 {
                difference += if y > 0 { (at(n, y, x, c) - at(n, y - 1, x, c)).abs() } else { 0.0 };
            }
        }
        let pairs = |f: &dyn Fn(usize) -> f64| (f(0) + f(1)).abs() + (f(0) - f(1)).abs();
        let along_y = |x: usize, sign: f64| (at(n, 0, x, c) + sign * at(n, 1, x, c)) / 2f64.sqrt();
        for sign in [1.0, -1.0] {
            haar += pairs(&|x| along_y(x, sign)) / 2f64.sqrt();
        }
        // The row without a partner.
        haar += pairs(&|x| at(n, 2, x, c)) / 2f64.sqrt();
    }
    assert_close(&[norm(LatentMap::Difference, &z, shape).0], &[difference / rms(&z)], 0.0, 1e-9);
    assert_close(&[norm(LatentMap::Haar, &z, shape).0], &[haar / rms(&z)], 0.0, 1e-9);
}

#[test]
fn gradients_of_norms_are_finite_differences() {
    for map in MAPS {
        for shape in [[2, 1, 1, 1, 11], [1, 2, 3, 5, 4]] {
            let z = values(shape.iter().product());
            let (_, gradient) = norm(map, &z, shape);
            let step = 1e-6;
            let slope = |i: usize| {
                let moved = |by: f64| {
                    let mut z = z.clone();
                    z[i] += by;
                    norm(map, &z, shape).0
                };
                (moved(step) - moved(-step)) / (2.0 * step)
            };
            let slopes: Vec<f64> = (0..z.len()).map(slope).collect();
            assert_close(&gradient, &slopes, 1e-6, 1e-6);
        }
    }
}

#[test]
fn a_model_that_keeps_some_latents_keeps_the_largest_and_learns_by_these() {
    let sample = Shape { grid: [1, 4, 6], channels: 1 };
    let model =
        |keep| Model { name: ModelName::Dense, hidden: Some(vec![10]), latent: Some(40), keep, ..Default::default() };
    let (dense, sparse) = (zoo::build(&model(None), sample).unwrap(), zoo::build(&model(Some(5)), sample).unwrap());
    assert_eq!(dense.params, sparse.params, "one set of weights for both");
    sparse.check().unwrap();
    assert!(sparse.encoder.nodes.last().unwrap().op == Op::KeepLargest(5));
    let params = init::start_values(&dense, 3);
    let cpu = Cpu::<f64>::new();
    let x = values(3 * sample.len());
    let of = |graph| Autoencoder::new(cpu.clone(), graph, &params).unwrap();
    let all = of(dense.clone()).encode(&x);
    let want = cpu.download(&cpu.keep_largest(&cpu.upload(&all), 40, 5));
    let kept = of(sparse.clone()).encode(&x);
    assert_eq!(kept, want);
    assert_eq!(of(dense.clone()).encode_sparse(&x, Some(5)), want);
    assert!(kept.chunks(40).all(|z| z.iter().filter(|z| **z != 0.0).count() == 5));
    let threshold = want.iter().map(|z| z.abs()).fold(0.0, f64::max) / 2.0;
    let (step, above) = (threshold / 100.0, |w: &f64| if w.abs() < threshold { 0.0 } else { *w });
    let symbols =
        |above: &dyn Fn(&f64) -> f64| want.iter().map(|w| (above(w) / step).round() as i32).collect::<Vec<_>>();
    assert_eq!(of(dense.clone()).encode_symbols(&x, Some(5), (Some(threshold), step)), symbols(&above));
    assert_eq!(of(dense).encode_symbols(&x, Some(5), (None, step)), symbols(&|w| *w));

    // Derivatives of the sum of squares of the output, by a bias of the encoder: those of kept values alone.
    let tape = Tape::recording(cpu.clone());
    let buffer = cpu.upload(&params.iter().map(|&p| f64::from(p)).collect::<Vec<f64>>());
    let leaves = sci_hpc::model::forward::leaves(&tape, &sparse, &buffer);
    let input = tape.constant(cpu.upload(&x[..24]), [1, 1, 4, 6, 1]);
    let z = sci_hpc::model::forward::run(&tape, &sparse.encoder, &leaves, &input);
    let total = tape.sum(&tape.mul(&z, &z));
    let bias = sparse.params.specs().iter().position(|spec| spec.name == "encoder.dense2.bias").unwrap();
    let gradient = tape.download(&tape.grad(&total, None, &[&leaves[bias]])[0]);
    let double: Vec<f64> = want[..40].iter().map(|z| 2.0 * z).collect();
    assert_close(&gradient, &double, 1e-14, 1e-12);
}

#[test]
fn every_decoder_of_the_zoo_has_weights_that_read_the_latent() {
    for listing in zoo::list([32, 32, 32]) {
        let name = serde_json::from_value(listing.name.into()).unwrap();
        let graph =
            zoo::build(&Model { name, ..Default::default() }, Shape { grid: [32, 32, 32], channels: 1 }).unwrap();
        let first = &graph.decoder.nodes[0];
        assert!(matches!(first.op, Op::Dense(_) | Op::ConvTranspose(..)) && first.inputs == [0], "{}", listing.name);
        let readers = graph.decoder.nodes.iter().filter(|node| node.inputs.contains(&0)).count();
        assert_eq!(readers, 1, "{}: nothing else reads it", listing.name);
    }
}

#[test]
fn weights_that_read_the_latent_come_to_norm_one() {
    let sample = Shape { grid: [1, 6, 5], channels: 2 };
    for (name, channels) in [(ModelName::Dense, None), (ModelName::Overcomplete, Some(vec![3, 4]))] {
        let (hidden, latent) = if name == ModelName::Dense { (Some(vec![7]), Some(9)) } else { (None, None) };
        let channels = channels.map(sci_hpc::config::Channels::Each);
        let graph = zoo::build(&Model { name, hidden, latent, channels, ..Default::default() }, sample).unwrap();
        let cpu = Cpu::<f64>::new();
        let start: Vec<f64> = init::start_values(&graph, 1).iter().map(|&p| f64::from(p)).collect();
        let mut params = cpu.upload(&start);
        sparsity::unit_atoms(&cpu, &graph, &mut params);
        let spec = graph.params.specs().iter().find(|spec| spec.name.starts_with("decoder.")).unwrap();
        let (unit, before) = (cpu.download(&params), &start[spec.range()]);
        let unit_weight = &unit[spec.range()];
        // Dense: one row per latent value. Transposed convolution: channels of the latent are the last axis.
        let atoms = if name == ModelName::Dense { spec.shape[0] } else { *spec.shape.last().unwrap() };
        let of = |weights: &[f64], atom: usize| -> Vec<f64> {
            let each = weights.len() / atoms;
            match name {
                ModelName::Dense => weights[atom * each..(atom + 1) * each].to_vec(),
                _ => weights.iter().skip(atom).step_by(atoms).copied().collect(),
            }
        };
        for atom in 0..atoms {
            let (now, then) = (of(unit_weight, atom), of(before, atom));
            let length = then.iter().map(|w| w * w).sum::<f64>().sqrt();
            let want: Vec<f64> = then.iter().map(|w| w / length).collect();
            assert_close(&now, &want, 1e-12, 1e-12);
        }
        let others = unit.iter().zip(&start).enumerate().filter(|(i, _)| !spec.range().contains(i));
        assert!(others.into_iter().all(|(_, (a, b))| a == b), "the other parameters stay");
    }
}
