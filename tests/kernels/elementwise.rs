//! Arithmetic and activations against scalar formulas; the gate against its definition.

use sci_hpc::backend::elementwise::{Activation, Binary, Elementwise, Gate};
use sci_hpc::backend::{Buffers, Cpu, Real};

use crate::common::{assert_close, noise};
use crate::{device_f32, device_f64, least_seconds, on_threads, widened};

/// Nothing, one, around a tile of 64, around a chunk of 16384.
const LENGTHS: [usize; 7] = [0, 1, 63, 65, 16_384, 16_385, 50_021];

fn upload<R: Real>(device: &Cpu<R>, values: &[f64]) -> <Cpu<R> as Buffers>::Buffer {
    let values: Vec<R> = values.iter().map(|&v| R::from_f64(v)).collect();
    device.upload(&values)
}

/// The values as the device holds them.
fn arguments<R: Real>(device: &Cpu<R>, seed: u64, len: usize) -> (<Cpu<R> as Buffers>::Buffer, Vec<f64>) {
    let x = upload(device, &noise(seed, len).iter().map(|v| 3.0 * v).collect::<Vec<_>>());
    let host = widened(&x);
    (x, host)
}

/// `roundoff` 2^-24 or 2^-53.
fn arithmetic<R: Real>(device: Cpu<R>, roundoff: f64) {
    for len in LENGTHS {
        let ((x, xs), (y, ys)) = (arguments(&device, 1, len), arguments(&device, 2, len));
        let pairs = |f: fn(f64, f64) -> f64| -> Vec<f64> { xs.iter().zip(&ys).map(|(&x, &y)| f(x, y)).collect() };
        // One rounding each; an affine map has three.
        for (op, f) in [
            (Binary::Add, (|x, y| x + y) as fn(f64, f64) -> f64),
            (Binary::Sub, |x, y| x - y),
            (Binary::Mul, |x, y| x * y),
        ] {
            assert_close(&widened(&device.binary(op, &x, &y)), &pairs(f), 1e-300, roundoff);
        }
        let want: Vec<f64> = xs.iter().map(|x| 0.1 * x - 2.5).collect();
        assert_close(&widened(&device.affine(&x, 0.1, -2.5)), &want, 4.0 * roundoff, 4.0 * roundoff);
        let mut sum = x.clone();
        device.accumulate(&mut sum, &y);
        assert_close(&widened(&sum), &pairs(|x, y| x + y), 1e-300, roundoff);
        assert_eq!(widened(&x), xs, "a shared buffer keeps its value");
    }
}

#[test]
fn arithmetic_equals_scalar_formulas_cpu() {
    arithmetic(device_f32(), 1.0 / f64::from(1 << 24));
}

#[test]
fn arithmetic_equals_scalar_formulas_cpu64() {
    arithmetic(device_f64(), f64::EPSILON / 2.0);
}

const ALL: [Activation; 10] = [
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
];

#[test]
fn activations_in_f32_equal_f64() {
    let (narrow, wide) = (device_f32(), device_f64());
    for f in ALL {
        for order in 0..=2 {
            // Every place of an f32 grid up to the ends of the range in which exp is finite, both signs of zero.
            let positive = matches!(f, Activation::Sqrt | Activation::Recip);
            let mut values: Vec<f64> = (-4000..=4000).map(|i| f64::from(i) * 0.02).collect();
            values.extend([0.0, -0.0, 1e-6, -1e-6, 1e-3, -1e-3]);
            values.retain(|&v| !positive || v > 1e-4);
            let x = upload(&narrow, &values);
            let exact = wide.activate(f, order, &upload(&wide, &widened(&x)));
            let got = widened(&narrow.activate(f, order, &x));
            // A few roundings in f32; 1 - tanh^2 cancels to an absolute error of one of them.
            assert_close(&got, &exact, 3e-7, 1e-6);
            let ones = upload(&narrow, &vec![-2.0; values.len()]);
            let doubled: Vec<f64> = got.iter().map(|v| -2.0 * v).collect();
            assert_eq!(widened(&narrow.activate_mul(f, order, &x, &ones)), doubled, "{f:?} {order}");
        }
    }
}

#[test]
fn activations_pass_nan_and_stay_finite_at_the_ends() {
    let device = device_f32();
    let x = device.upload(&[f32::NAN, -1e30, 1e30]);
    for f in ALL {
        assert!(device.activate(f, 0, &x)[0].is_nan(), "{f:?} hides a NaN");
    }
    let gate = Gate { x: &x, slope: &device.upload(&[0.25]), y: &x, positive: 1.0 };
    assert!(device.gate(gate)[0].is_nan());
    assert_eq!(device.activate(Activation::Sigmoid, 0, &x)[1..], [0.0, 1.0]);
    assert_eq!(device.activate(Activation::Tanh, 0, &x)[1..], [-1.0, 1.0]);
    assert_eq!(device.activate(Activation::Elu { alpha: 1.0 }, 0, &x)[1..], [-1.0, 1e30]);
}

#[test]
fn gate_scales_by_the_side_and_channel() {
    let device = device_f64();
    for channels in [1, 2, 3, 16, 61, 64, 67, 200] {
        let len = 331 * channels;
        let ((x, xs), (y, ys)) = (arguments(&device, 1, len), arguments(&device, 2, len));
        for slopes in [1, channels] {
            let (slope, s) = arguments(&device, 3, slopes);
            for positive in [0.0, 1.0] {
                let want: Vec<f64> =
                    (0..len).map(|i| ys[i] * if xs[i] <= 0.0 { s[i % slopes] } else { positive }).collect();
                assert_eq!(device.gate(Gate { x: &x, slope: &slope, y: &y, positive })[..], want);
            }
        }
    }
}

/// `cargo test --release --test kernels -- --ignored --nocapture perf_elementwise`
#[test]
#[ignore = "a measurement"]
fn perf_elementwise_bandwidth() {
    let device = device_f32();
    let len = 4 * 91 * 85 * 32 * 16;
    let (x, y) = (upload(&device, &noise(1, len)), upload(&device, &noise(2, len)));
    let slope = upload(&device, &noise(3, 16));
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
