//! Arithmetic and activations against scalar formulas; the gate against its definition.

use sci_hpc::backend::elementwise::{Activation, Binary, Elementwise, Gate};
use sci_hpc::backend::{Buffers, Cpu};

use crate::common::{assert_close, noise};
use crate::{arguments, device_f32, least_seconds, on_every_device, on_threads, roundoff, values};

/// Nothing, one, around a tile of 64, around a chunk of 16384.
const LENGTHS: [usize; 7] = [0, 1, 63, 65, 16_384, 16_385, 50_021];

/// Three times a noise: both signs, around the kinks.
fn noisy<B: Buffers>(device: &B, seed: u64, len: usize) -> (B::Buffer, Vec<f64>) {
    arguments(device, &noise(seed, len).iter().map(|v| 3.0 * v).collect::<Vec<_>>())
}

on_every_device!(
    arithmetic_equals_scalar_formulas,
    activations_equal_those_of_f64,
    activations_pass_nan_and_stay_finite_at_the_ends,
    gate_scales_by_the_side_and_channel,
    lower_bound_lets_through_what_leads_back,
);

fn arithmetic_equals_scalar_formulas<B: Elementwise>(device: &B) {
    let roundoff = roundoff::<B>();
    for len in LENGTHS {
        let ((x, xs), (y, ys)) = (noisy(device, 1, len), noisy(device, 2, len));
        let pairs = |f: fn(f64, f64) -> f64| -> Vec<f64> { xs.iter().zip(&ys).map(|(&x, &y)| f(x, y)).collect() };
        // One rounding each; an affine map has three.
        for (op, f) in [
            (Binary::Add, (|x, y| x + y) as fn(f64, f64) -> f64),
            (Binary::Sub, |x, y| x - y),
            (Binary::Mul, |x, y| x * y),
        ] {
            assert_close(&values(device, &device.binary(op, &x, &y)), &pairs(f), 1e-300, roundoff);
        }
        let want: Vec<f64> = xs.iter().map(|x| 0.1 * x - 2.5).collect();
        assert_close(&values(device, &device.affine(&x, 0.1, -2.5)), &want, 4.0 * roundoff, 4.0 * roundoff);
        let mut sum = x.clone();
        device.accumulate(&mut sum, &y);
        assert_close(&values(device, &sum), &pairs(|x, y| x + y), 1e-300, roundoff);
        assert_eq!(values(device, &x), xs, "a shared buffer keeps its value");
        device.accumulate(&mut sum, &y);
        assert_close(&values(device, &sum), &pairs(|x, y| x + y + y), 8.0 * roundoff, 2.0 * roundoff);
    }
}

const ALL: [Activation; 11] = [
    Activation::Relu,
    Activation::LeakyRelu { slope: 0.05 },
    Activation::Elu { alpha: 1.5 },
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::Abs,
    Activation::Square,
    Activation::Exp,
    Activation::Sqrt,
    Activation::Recip,
    Activation::Softplus,
];

fn activations_equal_those_of_f64<B: Elementwise>(device: &B) {
    let (twin, wide) = (Cpu::<B::Real>::new(), Cpu::<f64>::new());
    for f in ALL {
        for order in 0..=2 {
            // Every place of a grid up to the ends of the range in which exp is finite, both signs of zero.
            let positive = matches!(f, Activation::Sqrt | Activation::Recip);
            let mut places: Vec<f64> = (-4000..=4000).map(|i| f64::from(i) * 0.02).collect();
            places.extend([0.0, -0.0, 1e-6, -1e-6, 1e-3, -1e-3]);
            places.retain(|&v| !positive || v > 1e-4);
            let (x, xs) = arguments(device, &places);
            let got = values(device, &device.activate(f, order, &x));
            // A few roundings; 1 - tanh^2 cancels to an absolute error of one of them.
            let exact = wide.activate(f, order, &wide.upload(&xs));
            assert_close(&got, &exact, 5.0 * roundoff::<B>(), 17.0 * roundoff::<B>());
            // The same operations in the same order: the same bits on every device.
            let same = twin.activate(f, order, &arguments(&twin, &places).0);
            assert_eq!(got, values(&twin, &same), "{f:?} {order}");
            let (twos, _) = arguments(device, &vec![-2.0; places.len()]);
            let doubled: Vec<f64> = got.iter().map(|v| -2.0 * v).collect();
            assert_eq!(values(device, &device.activate_mul(f, order, &x, &twos)), doubled, "{f:?} {order}");
        }
    }
}

fn activations_pass_nan_and_stay_finite_at_the_ends<B: Elementwise>(device: &B) {
    let (x, xs) = arguments(device, &[f64::NAN, -1e30, 1e30]);
    let of = |f| values(device, &device.activate(f, 0, &x));
    for f in ALL {
        assert!(of(f)[0].is_nan(), "{f:?} hides a NaN");
    }
    let gate = Gate { x: &x, slope: &arguments(device, &[0.25]).0, y: &x, positive: 1.0 };
    assert!(values(device, &device.gate(gate))[0].is_nan());
    assert_eq!(of(Activation::Sigmoid)[1..], [0.0, 1.0]);
    assert_eq!(of(Activation::Tanh)[1..], [-1.0, 1.0]);
    assert_eq!(of(Activation::Elu { alpha: 1.0 })[1..], [-1.0, xs[2]]);
}

fn gate_scales_by_the_side_and_channel<B: Elementwise>(device: &B) {
    for channels in [1, 2, 3, 16, 61, 64, 67, 200] {
        let len = 331 * channels;
        let ((x, xs), (y, ys)) = (noisy(device, 1, len), noisy(device, 2, len));
        for slopes in [1, channels] {
            let (slope, s) = noisy(device, 3, slopes);
            for positive in [0.0, 1.0] {
                let want: Vec<f64> =
                    (0..len).map(|i| ys[i] * if xs[i] <= 0.0 { s[i % slopes] } else { positive }).collect();
                let got = values(device, &device.gate(Gate { x: &x, slope: &slope, y: &y, positive }));
                assert_close(&got, &want, 1e-300, roundoff::<B>());
            }
        }
    }
}

fn lower_bound_lets_through_what_leads_back<B: Elementwise>(device: &B) {
    for len in LENGTHS {
        let ((x, xs), (y, ys)) = (noisy(device, 1, len), noisy(device, 2, len));
        let (_, bound) = arguments(device, &[0.3]);
        let want: Vec<f64> = xs.iter().map(|x| x.max(bound[0])).collect();
        assert_eq!(values(device, &device.lower_bound(&x, 0.3)), want);
        let want: Vec<f64> = xs.iter().zip(&ys).map(|(&x, &y)| if x < bound[0] && y > 0.0 { 0.0 } else { y }).collect();
        assert_eq!(values(device, &device.lower_bound_grad(&x, &y, 0.3)), want);
    }
    let (x, _) = arguments(device, &[f64::NAN]);
    assert!(values(device, &device.lower_bound(&x, 0.3))[0].is_nan());
}

/// `cargo test --release --test kernels -- --ignored --nocapture perf_elementwise`
#[test]
#[ignore = "a measurement"]
fn perf_elementwise_bandwidth() {
    let device = device_f32();
    let len = 4 * 91 * 85 * 32 * 16;
    let [x, y] = [1, 2].map(|seed| arguments(&device, &noise(seed, len)).0);
    let (slope, _) = arguments(&device, &noise(3, 16));
    let gigabytes = |arrays: usize, seconds: f64| (arrays * len * 4) as f64 / seconds / 1e9;
    for threads in [1, 2] {
        let report = |name: &str, arrays: usize, work: &(dyn Fn() + Sync)| {
            let seconds = on_threads(threads, || least_seconds(9, work));
            println!("{name:24} {threads} threads: {:7.2} ms {:6.2} GB/s", seconds * 1e3, gigabytes(arrays, seconds));
        };
        report("add", 3, &|| drop(device.binary(Binary::Add, &x, &y)));
        report("relu", 2, &|| drop(device.activate(Activation::Relu, 0, &x)));
        report("relu gradient", 3, &|| drop(device.activate_mul(Activation::Relu, 1, &x, &y)));
        report("prelu", 2, &|| drop(device.gate(Gate { x: &x, slope: &slope, y: &x, positive: 1.0 })));
        report("prelu gradient", 3, &|| drop(device.gate(Gate { x: &x, slope: &slope, y: &y, positive: 1.0 })));
        report("elu", 2, &|| drop(device.activate(Activation::Elu { alpha: 1.0 }, 0, &x)));
        report("tanh", 2, &|| drop(device.activate(Activation::Tanh, 0, &x)));
        report("sigmoid", 2, &|| drop(device.activate(Activation::Sigmoid, 0, &x)));
    }
}
