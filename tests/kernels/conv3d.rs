//! The three contractions of a convolution against the slow twins.

use sci_hpc::backend::conv3d::{Conv3d, ConvDims};
use sci_hpc::backend::{Buffers, Cpu, Real};

use crate::common::{assert_close, bits, integers, noise};
use crate::{device_f32, device_f64, on_threads, reference, sum_tolerance, widened};

/// Channel counts of the models and awkward ones: extent 1, primes, blocks and their neighbours.
const CHANNELS: [[usize; 2]; 20] = [
    [1, 1],
    [1, 2],
    [2, 1],
    [3, 5],
    [5, 3],
    [1, 16],
    [16, 1],
    [1, 32],
    [64, 1],
    [7, 9],
    [8, 8],
    [16, 64],
    [17, 15],
    [23, 31],
    [33, 24],
    [32, 32],
    [40, 3],
    [2, 65],
    [128, 4],
    [4, 256],
];

fn dims(n: usize, channels: [usize; 2], input: [usize; 3], window: [[usize; 3]; 3]) -> ConvDims {
    let [kernel, stride, padding] = window;
    let output = std::array::from_fn(|a| (input[a] + 2 * padding[a] - kernel[a]) / stride[a] + 1);
    ConvDims { n, c_in: channels[0], c_out: channels[1], input, output, kernel, stride, padding }
}

/// The layers of the backbone on a small grid, the corners of the window space, then 400 windows drawn from
/// kernel 1..4, stride 1..4, padding 0..3, grid 1..9, so kernels above and below the stride on every axis.
fn cases() -> Vec<ConvDims> {
    let backbone = [
        ([1, 1], [[3, 3, 2], [1; 3], [0; 3]]),
        ([1, 16], [[3; 3], [1; 3], [0; 3]]),
        ([16, 64], [[3; 3], [2; 3], [0, 1, 1]]),
        ([64, 32], [[3; 3], [2; 3], [0, 1, 0]]),
        ([32, 32], [[3; 3], [2; 3], [1, 1, 0]]),
        ([32, 32], [[3, 3, 2], [2, 2, 1], [0; 3]]),
        ([32, 32], [[3, 3, 2], [2, 2, 1], [1, 1, 0]]),
    ];
    let mut all: Vec<_> = backbone.map(|(channels, window)| dims(2, channels, [7, 5, 3], window)).into();
    all.extend(CHANNELS.map(|channels| dims(2, channels, [7, 5, 3], [[1; 3], [1; 3], [0; 3]])));
    all.extend(CHANNELS.map(|channels| dims(1, channels, [5, 3, 37], [[2, 3, 3], [1; 3], [0, 1, 1]])));
    all.extend(CHANNELS.map(|channels| dims(3, channels, [1; 3], [[1; 3], [1; 3], [0; 3]])));
    for i in 0..400 {
        let draw = |what: u64, axis: usize, n: usize| bits(what, 3 * i + axis as u64) as usize % n;
        let kernel: [usize; 3] = std::array::from_fn(|a| 1 + draw(1, a, 4));
        let stride = std::array::from_fn(|a| 1 + draw(2, a, 4));
        let padding: [usize; 3] = std::array::from_fn(|a| draw(3, a, 4).min(kernel[a]));
        let input = std::array::from_fn(|a| (1 + draw(4, a, 9)).max(kernel[a].saturating_sub(2 * padding[a])));
        let channels = CHANNELS[i as usize % CHANNELS.len()].map(|c| c.min(24));
        all.push(dims(1 + draw(5, 0, 2), channels, input, [kernel, stride, padding]));
    }
    all
}

/// x, w, y and the biases by output and input channel, rounded to what `R` holds.
struct Operands([Vec<f64>; 5]);

impl Operands {
    fn new<R: Real>(dims: &ConvDims, draw: impl Fn(u64, usize) -> Vec<f64>) -> Self {
        let volume = |g: [usize; 3]| g.iter().product::<usize>();
        let lens = [
            dims.n * volume(dims.input) * dims.c_in,
            volume(dims.kernel) * dims.c_in * dims.c_out,
            dims.n * volume(dims.output) * dims.c_out,
            dims.c_out,
            dims.c_in,
        ];
        let mut seed = 0;
        Self(lens.map(|len| {
            seed += 1;
            draw(seed, len).iter().map(|&v| R::from_f64(v).to_f64()).collect()
        }))
    }

    /// The slow twins' forward, input gradient and weight gradient.
    fn reference(&self, dims: &ConvDims) -> [Vec<f64>; 3] {
        let [x, w, y, bias_out, bias_in] = &self.0;
        [
            reference::forward(x, w, bias_out, dims),
            reference::input_grad(y, w, bias_in, dims),
            reference::weight_grad(x, y, dims),
        ]
    }

    /// The same three on a device.
    fn device<R: Real>(&self, device: &Cpu<R>, dims: &ConvDims) -> [Vec<R>; 3] {
        let [x, w, y, bias_out, bias_in] =
            &self.0.each_ref().map(|v| device.upload(&v.iter().map(|&v| R::from_f64(v)).collect::<Vec<_>>()));
        [
            device.conv3d_forward(x, w, Some(bias_out), dims),
            device.conv3d_input_grad(y, w, Some(bias_in), dims),
            device.conv3d_weight_grad(x, y, dims),
        ]
        .map(|b| device.download(&b))
    }
}

/// See [`crate::sum_tolerance`].
fn agrees_with_reference<R: Real>(device: &Cpu<R>, unit_roundoff: f64) {
    for dims in cases() {
        let volume = |g: [usize; 3]| g.iter().product::<usize>();
        let operands = Operands::new::<R>(&dims, noise);
        let (want, got) = (operands.reference(&dims), operands.device(device, &dims));
        let taps = volume(dims.kernel);
        let terms = [taps * dims.c_in, taps * dims.c_out, dims.n * volume(dims.output)];
        for ((got, want), terms) in got.iter().zip(&want).zip(terms) {
            assert_close(&widened(got), want, unit_roundoff * sum_tolerance(terms), unit_roundoff);
        }
    }
}

#[test]
fn conv3d_f32_agrees_with_reference() {
    agrees_with_reference(&device_f32(), f64::from(f32::EPSILON) / 2.0);
}

#[test]
fn conv3d_f64_agrees_with_reference() {
    agrees_with_reference(&device_f64(), f64::EPSILON / 2.0);
}

#[test]
fn conv3d_of_integers_is_exact() {
    for dims in cases() {
        let operands = Operands::new::<f64>(&dims, |seed, len| integers(seed, len, 1 << 18));
        assert_eq!(operands.device(&device_f64(), &dims), operands.reference(&dims), "{dims:?}");
    }
}

#[test]
fn conv3d_gives_the_same_bits_at_every_thread_count() {
    for dims in cases() {
        let operands = Operands::new::<f32>(&dims, noise);
        let run = || operands.device(&device_f32(), &dims);
        let one = on_threads(1, run);
        for threads in [2, 3] {
            assert_eq!(on_threads(threads, run), one, "{threads} threads, {dims:?}");
        }
    }
}

#[test]
fn conv3d_without_bias_is_conv3d_with_zero_bias() {
    for dims in cases().into_iter().take(30) {
        let device = device_f32();
        let operands = Operands::new::<f32>(&dims, noise);
        let load = |v: &[f64]| device.upload(&v.iter().map(|&v| f32::from_f64(v)).collect::<Vec<_>>());
        let [x, w, y] = [0, 1, 2].map(|i| load(&operands.0[i]));
        let zeros = |len| device.zeros(len);
        assert_eq!(
            device.conv3d_forward(&x, &w, None, &dims),
            device.conv3d_forward(&x, &w, Some(&zeros(dims.c_out)), &dims)
        );
        assert_eq!(
            device.conv3d_input_grad(&y, &w, None, &dims),
            device.conv3d_input_grad(&y, &w, Some(&zeros(dims.c_in)), &dims)
        );
    }
}
