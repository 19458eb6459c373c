//! The three contractions of a convolution against the slow twins.

use sci_hpc::backend::Backend;
use sci_hpc::backend::Real;
use sci_hpc::backend::conv3d::{Conv3d, ConvDims, Epilogue, Finished, Rectifier};
use sci_hpc::backend::elementwise::{Activation, Binary, Gate};
use sci_hpc::backend::gpu::{Driver, Gpu};

use crate::common::{assert_close, bits, integers, noise};
use crate::{
    TENSOR_SUM, arguments, device_f32, device_f64, on_every_device, on_tensor_cores, on_threads, reference,
    rounded_for, roundoff, sum_tolerance, values,
};

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

/// Windows that every device is given; the CPU alone has a share of [`WINDOWS`].
const WINDOWS: usize = 400;
const WINDOWS_EVERYWHERE: usize = 40;

/// The layers of the backbone on a small grid, the corners of the window space, grids of so many tiles that a GPU takes large
/// ones, then `windows` windows drawn from kernel 1..4, stride 1..4, padding 0..3, grid 1..9, so kernels above and below the
/// stride on every axis.
fn cases(windows: usize) -> Vec<ConvDims> {
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
    all.push(dims(1, [6, 65], [4, 5, 6], [[2, 3, 3], [1; 3], [0, 1, 1]]));
    let many = [[4, 65], [65, 5], [6, 40], [40, 6], [8, 16], [16, 7]];
    all.extend(many.map(|channels| dims(1, channels, [2, 131, 130], [[1, 2, 1], [1; 3], [0; 3]])));
    for i in 0..windows as u64 {
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

    /// The same three on a device, from views that begin at odd offsets of one buffer if `odd`.
    fn device<B: Conv3d>(&self, device: &B, dims: &ConvDims, odd: bool) -> [Vec<f64>; 3] {
        let flat: Vec<f64> = self.0.iter().flat_map(|v| [&[f64::NAN], &v[..]].concat()).collect();
        let (flat, mut at) = (arguments(device, &flat).0, 0);
        let [x, w, y, bias_out, bias_in] = &self.0.each_ref().map(|v| {
            let range = at + 1..at + 1 + v.len();
            at = range.end;
            if odd { device.view(&flat, range) } else { arguments(device, v).0 }
        });
        [
            device.conv3d_forward(x, w, Some(bias_out), dims),
            device.conv3d_input_grad(y, w, Some(bias_in), dims),
            device.conv3d_weight_grad(x, y, dims),
        ]
        .map(|b| values(device, &b))
    }
}

on_every_device!(
    conv3d_agrees_with_reference,
    conv3d_of_integers_is_exact,
    conv3d_of_views_is_that_of_copies,
    conv3d_without_bias_is_conv3d_with_zero_bias,
    epilogues_are_ops_of_their_own,
);

fn conv3d_agrees_with_reference<B: Conv3d>(device: &B) {
    agrees_with_reference(device, cases(WINDOWS_EVERYWHERE));
}

#[test]
fn conv3d_of_all_windows_agrees_with_reference_on_the_cpu() {
    agrees_with_reference(&device_f32(), cases(WINDOWS));
    agrees_with_reference(&device_f64(), cases(WINDOWS));
}

/// See [`crate::sum_tolerance`].
fn agrees_with_reference<B: Conv3d>(device: &B, cases: Vec<ConvDims>) {
    for dims in cases {
        let volume = |g: [usize; 3]| g.iter().product::<usize>();
        let operands = Operands::new::<B::Real>(&dims, noise);
        let (want, got) = (operands.reference(&dims), operands.device(device, &dims, false));
        let taps = volume(dims.kernel);
        let terms = [taps * dims.c_in, taps * dims.c_out, dims.n * volume(dims.output)];
        for ((got, want), terms) in got.iter().zip(&want).zip(terms) {
            assert_close(got, want, roundoff::<B>() * sum_tolerance(terms), roundoff::<B>());
        }
    }
}

/// Sums below 2^24 or 2^53 have no rounding, in any order.
fn conv3d_of_integers_is_exact<B: Conv3d>(device: &B) {
    let limit = if size_of::<B::Real>() == 4 { 16 } else { 1 << 18 };
    for dims in cases(WINDOWS_EVERYWHERE) {
        let operands = Operands::new::<B::Real>(&dims, |seed, len| integers(seed, len, limit));
        assert_eq!(operands.device(device, &dims, false), operands.reference(&dims), "{dims:?}");
    }
}

/// Parameters lie anywhere in one flat buffer: the same bits, whatever the loads.
fn conv3d_of_views_is_that_of_copies<B: Conv3d>(device: &B) {
    for dims in cases(10).into_iter().step_by(2) {
        let operands = Operands::new::<B::Real>(&dims, noise);
        let [views, copies] = [true, false].map(|odd| operands.device(device, &dims, odd));
        assert_eq!(views, copies, "{dims:?}");
    }
}

on_tensor_cores!(conv3d_on_tensor_cores_is_that_of_rounded_operands, epilogues_on_tensor_cores_are_ops_of_their_own);

fn epilogues_on_tensor_cores_are_ops_of_their_own<D: Driver>(device: &Gpu<D, f32>) {
    epilogues_are_ops_of_their_own(device);
}

fn conv3d_on_tensor_cores_is_that_of_rounded_operands<D: Driver>(device: &Gpu<D, f32>) {
    for dims in cases(20).into_iter().filter(|dims| dims.input[1] < 100) {
        let volume = |g: [usize; 3]| g.iter().product::<usize>();
        let operands = Operands::new::<f32>(&dims, noise);
        let Operands([x, w, y, bias_out, bias_in]) = &operands;
        let rounded = Operands([
            rounded_for(device.math(), x),
            rounded_for(device.math(), w),
            rounded_for(device.math(), y),
            bias_out.clone(),
            bias_in.clone(),
        ]);
        let (exact, rounded) = (operands.reference(&dims), rounded.reference(&dims));
        // Results of few channels come from an exact kernel.
        let want = [
            if dims.c_out <= 4 { &exact[0] } else { &rounded[0] },
            if dims.c_in <= 4 { &exact[1] } else { &rounded[1] },
            &rounded[2],
        ];
        let taps = volume(dims.kernel);
        let terms = [taps * dims.c_in, taps * dims.c_out, dims.n * volume(dims.output)];
        let roundoff = TENSOR_SUM * roundoff::<Gpu<D, f32>>();
        for odd in [false, true] {
            for ((got, want), terms) in operands.device(device, &dims, odd).iter().zip(want).zip(terms) {
                assert_close(got, want, roundoff * sum_tolerance(terms), roundoff);
            }
        }
    }
}

#[test]
fn conv3d_gives_the_same_bits_at_every_thread_count() {
    for dims in cases(WINDOWS) {
        let operands = Operands::new::<f32>(&dims, noise);
        let run = || operands.device(&device_f32(), &dims, false);
        let one = on_threads(1, run);
        for threads in [2, 3] {
            assert_eq!(on_threads(threads, run), one, "{threads} threads, {dims:?}");
        }
    }
}

fn conv3d_without_bias_is_conv3d_with_zero_bias<B: Conv3d>(device: &B) {
    for dims in cases(0).into_iter().step_by(3) {
        let operands = Operands::new::<B::Real>(&dims, noise);
        let [x, w, y] = [0, 1, 2].map(|i| arguments(device, &operands.0[i]).0);
        let [by_none, by_zeros] = [false, true].map(|zeros| {
            let bias = |len| zeros.then(|| device.zeros(len));
            [
                device.conv3d_forward(&x, &w, bias(dims.c_out).as_ref(), &dims),
                device.conv3d_input_grad(&y, &w, bias(dims.c_in).as_ref(), &dims),
            ]
            .map(|b| values(device, &b))
        });
        assert_eq!(by_none, by_zeros, "{dims:?}");
    }
}

/// Numbers of the combinations of residual and activation, each kept or not by turns.
const COMBINATIONS: usize = 10;

/// What becomes of sums is, bit for bit, what the ops make of a contraction with a bias; kept values are those between. Small
/// grids with all combinations, and grids of so many tiles that a GPU takes large ones with two each.
fn epilogues_are_ops_of_their_own<B: Backend>(device: &B) {
    let large = |dims: &ConvDims| dims.input[1] >= 100;
    let some = cases(6).into_iter().filter(|dims| !large(dims) || [8, 65, 40].contains(&dims.c_in));
    for (number, dims) in some.enumerate() {
        let operands = Operands::new::<B::Real>(&dims, noise);
        let [x, w, y, bias_out, bias_in] = &operands.0.each_ref().map(|v| arguments(device, v).0);
        for forward in [true, false] {
            let bias = if forward { bias_out } else { bias_in };
            let sums = Sums { operand: if forward { x } else { y }, w, bias, dims: &dims, forward };
            let chosen = if large(&dims) { 3..5 } else { 0..COMBINATIONS };
            chosen.for_each(|combination| {
                sums.become_what_the_ops_make(device, combination, (combination + number) % 2 == 0)
            });
        }
    }
}

/// A contraction forward, or the input gradient.
struct Sums<'a, T> {
    operand: &'a T,
    w: &'a T,
    bias: &'a T,
    dims: &'a ConvDims,
    forward: bool,
}

impl<T> Sums<'_, T> {
    fn then<B: Backend<Buffer = T>>(&self, device: &B, then: &Epilogue<'_, T>, keep: bool) -> Finished<T> {
        match self.forward {
            true => device.conv3d_forward_then(self.operand, self.w, (then, keep), self.dims),
            false => device.conv3d_input_grad_then(self.operand, self.w, (then, keep), self.dims),
        }
    }

    fn become_what_the_ops_make<B: Backend<Buffer = T>>(&self, device: &B, combination: usize, keep: bool)
    where
        T: Clone,
    {
        let plain = self.then(device, &Epilogue::biased(Some(self.bias)), false).value;
        let mut values_of_residual = noise(6, device.len(&plain));
        *values_of_residual.last_mut().expect("a result") = f64::NAN;
        let (residual, _) = arguments(device, &values_of_residual);
        let residual = (combination % 2 == 1).then_some(&residual);
        let (slope, _) = arguments(device, &noise(7, if keep { 1 } else { device.len(self.bias) }));
        let sums = residual.map_or(plain.clone(), |residual| device.binary(Binary::Add, &plain, residual));
        let fixed = [Activation::Relu, Activation::LeakyRelu { slope: 0.05 }, Activation::Elu { alpha: 1.5 }];
        let (rectifier, want) = match combination / 2 {
            0 => (None, sums.clone()),
            1 => {
                (Some(Rectifier::Prelu(&slope)), device.gate(Gate { x: &sums, slope: &slope, y: &sums, positive: 1.0 }))
            }
            other => (Some(Rectifier::Fixed(fixed[other - 2])), device.activate(fixed[other - 2], 0, &sums)),
        };
        let keeps = keep && rectifier.is_some();
        let got = self.then(device, &Epilogue { bias: Some(self.bias), residual, rectifier }, keep);
        let bits = |buffer: &T| -> Vec<Option<u64>> {
            values(device, buffer).into_iter().map(|v| (!v.is_nan()).then(|| v.to_bits())).collect()
        };
        let at = format!("{:?} forward {} combination {combination}", self.dims, self.forward);
        assert!(bits(&got.value) == bits(&want), "{at}");
        assert!(got.before.map(|before| bits(&before)) == keeps.then(|| bits(&sums)), "{at}: what is kept");
    }
}
