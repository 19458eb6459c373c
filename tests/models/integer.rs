//! The exact decoder: close to the decoder it was made from, and the same bits by any route.

use sci_hpc::backend::Cpu;
use sci_hpc::codec::{decode_weights, encode_weights};
use sci_hpc::config::{Activation, Channels, Model, ModelName};
use sci_hpc::model::forward::Autoencoder;
use sci_hpc::model::integer::Quantization;
use sci_hpc::model::{Graph, IntegerDecoder, ModelError, Shape, init, zoo};

fn trained(name: ModelName, activation: Activation) -> (Graph, Vec<f32>) {
    let backbone = name == ModelName::Backbone;
    let model = Model {
        name,
        activation: Some(activation),
        channels: backbone.then(|| Channels::Each(vec![1, 4, 8, 8])),
        hidden: (!backbone).then(|| vec![40, 20]),
        latent: (!backbone).then_some(6),
        ..Default::default()
    };
    let graph = zoo::build(&model, Shape { grid: [13, 11, 6], channels: 1 }).unwrap();
    let params = init::start_values(&graph, 7);
    (graph, params)
}

fn symbols(n: usize) -> Vec<i32> {
    (0..n).map(|i| (i as f64 * 1.7).sin().mul_add(40.0, (i % 5) as f64) as i32).collect()
}

fn exact(graph: &Graph, params: &[f32], weight_bits: u32, calibration: &[i32]) -> IntegerDecoder {
    let how = Quantization { step: 0.05, weight_bits, calibration, largest: &|own| own };
    IntegerDecoder::quantize(&Cpu::<f64>::new(), (&graph.decoder, &graph.params, params), &how).unwrap()
}

fn rel_l2(a: &[f64], b: &[f64]) -> f64 {
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    norm(&mut a.iter().zip(b).map(|(x, y)| x - y)) / norm(&mut b.iter().copied())
}

#[test]
fn exact_decoder_is_close_to_the_float_decoder_and_closer_with_more_bits() {
    for (name, activation) in [
        (ModelName::Backbone, Activation::Prelu),
        (ModelName::Backbone, Activation::Relu),
        (ModelName::Dense, Activation::Lrelu),
    ] {
        let (graph, params) = trained(name, activation);
        let q = symbols(3 * graph.latent().len());
        let latents: Vec<f64> = q.iter().map(|&q| f64::from(q) * 0.05).collect();
        let want = Autoencoder::new(Cpu::<f64>::new(), graph.clone(), &params).unwrap().decode(&latents);
        let error = |bits| rel_l2(&exact(&graph, &params, bits, &q).decode(&Cpu::<f64>::new(), &q), &want);
        let (coarse, fine) = (error(8), error(14));
        assert!(coarse < 0.03, "{name:?}: 8-bit weights are off by {coarse}");
        assert!(fine < 1.0e-3 && fine < coarse, "{name:?}: 14-bit weights are off by {fine}");
    }
}

#[test]
fn exact_decoder_gives_the_same_bits_with_one_and_two_threads_and_sample_by_sample() {
    let (graph, params) = trained(ModelName::Backbone, Activation::Prelu);
    let len = graph.latent().len();
    let q = symbols(3 * len);
    let decoder = exact(&graph, &params, 8, &q);
    let with_threads = |n| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
        pool.install(|| decoder.decode(&Cpu::<f64>::new(), &q))
    };
    let bits = |v: &[f64]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let whole = bits(&with_threads(1));
    assert_eq!(whole, bits(&with_threads(2)));
    let single: Vec<u64> = q.chunks(len).flat_map(|one| bits(&decoder.decode(&Cpu::<f64>::new(), one))).collect();
    assert_eq!(whole, single);
}

#[test]
fn stored_decoder_comes_back_and_damage_is_an_error() {
    let (graph, params) = trained(ModelName::Backbone, Activation::Prelu);
    let q = symbols(graph.latent().len());
    for bits in [8, 12] {
        let decoder = exact(&graph, &params, bits, &q);
        let bytes = decoder.to_bytes(&encode_weights);
        assert_eq!(IntegerDecoder::from_bytes(&bytes, &decode_weights).unwrap(), decoder);
        for cut in [0, 7, 8, 100, bytes.len() - 1] {
            assert!(IntegerDecoder::from_bytes(&bytes[..cut], &decode_weights).is_err(), "cut at {cut}");
        }
        for at in (0..bytes.len().min(3000)).step_by(37) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            // A flipped weight is a different, valid decoder (the archive's digest tells); it must only never panic.
            let _either = IntegerDecoder::from_bytes(&damaged, &decode_weights);
        }
    }
}

/// Where sums are long and weights fine, multipliers are coarser: the decoder is exact all the same.
#[test]
fn weights_of_sixteen_bits_are_exact_in_wide_layers() {
    let model = Model { name: ModelName::Dense, hidden: Some(vec![60]), latent: Some(1000), ..Default::default() };
    let graph = zoo::build(&model, Shape { grid: [1, 9, 7], channels: 1 }).unwrap();
    let params = init::start_values(&graph, 3);
    let q = symbols(2 * graph.latent().len());
    let latents: Vec<f64> = q.iter().map(|&q| f64::from(q) * 0.05).collect();
    let want = Autoencoder::new(Cpu::<f64>::new(), graph.clone(), &params).unwrap().decode(&latents);
    let error = |bits| rel_l2(&exact(&graph, &params, bits, &q).decode(&Cpu::<f64>::new(), &q), &want);
    assert!(error(16) < 1.0e-3 && error(16) < 0.1 * error(8), "{} {}", error(16), error(8));
}

/// A channel without weights takes nothing from the precision of the others.
#[test]
fn dead_channels_leave_the_others_as_they_are() {
    let (graph, mut params) = trained(ModelName::Dense, Activation::Lrelu);
    let of = |end: &str| {
        let last = graph.params.specs().iter().rposition(|s| s.name.starts_with("decoder") && s.name.ends_with(end));
        graph.params.range(last.unwrap())
    };
    let (weights, outputs) = (of("weight"), of("bias").len());
    params[weights.clone()].iter_mut().step_by(outputs).for_each(|w| *w = 0.0);
    params[weights].iter_mut().for_each(|w| *w *= 1e-3);
    let q = symbols(3 * graph.latent().len());
    let latents: Vec<f64> = q.iter().map(|&q| f64::from(q) * 0.05).collect();
    let want = Autoencoder::new(Cpu::<f64>::new(), graph.clone(), &params).unwrap().decode(&latents);
    let error = rel_l2(&exact(&graph, &params, 14, &q).decode(&Cpu::<f64>::new(), &q), &want);
    assert!(error < 1.0e-3, "{error}");
}

/// What a stored decoder claims to be is seen in its bytes: no array is made for weights that are not there.
#[test]
fn decoders_that_claim_more_weights_than_their_bytes_hold_are_refused() {
    assert!(decode_weights(&encode_weights(&[0; 6_400], 80, 80), 80, 80).is_some());
    let zeros = encode_weights(&[0; 64], 8, 8);
    for (rows, channels) in [(1 << 20, 1 << 20), (usize::MAX, 2), (1 << 40, 1)] {
        assert_eq!(decode_weights(&zeros, rows, channels), None);
    }
}

#[test]
fn sums_that_could_leave_the_exact_range_are_refused() {
    let (graph, mut params) = trained(ModelName::Dense, Activation::Lrelu);
    // A bias of 10^30 standard deviations cannot be an exact integer next to the weights.
    let place =
        graph.params.specs().iter().position(|s| s.name.starts_with("decoder") && s.name.ends_with("bias")).unwrap();
    params[graph.params.range(place).start] = 1.0e30;
    let q = symbols(graph.latent().len());
    let how = Quantization { step: 0.05, weight_bits: 8, calibration: &q, largest: &|own| own };
    let made = IntegerDecoder::quantize(&Cpu::<f64>::new(), (&graph.decoder, &graph.params, &params), &how);
    assert!(matches!(made, Err(ModelError::NotExact { .. })));
}
