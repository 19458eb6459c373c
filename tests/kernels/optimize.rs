//! Updates of parameters: the bits of the CPU on every device, and the published formula in f64.

use sci_hpc::backend::Cpu;
use sci_hpc::backend::optimize::{Adam, Moments, Optimize, RmsProp};

use crate::common::{assert_close, noise};
use crate::{arguments, arguments_at, on_every_device, roundoff, values};

/// Nothing, one, around a block of 1024, around a chunk of 8192.
const LENGTHS: [usize; 6] = [0, 1, 1023, 1025, 8193, 50_021];

on_every_device!(
    adam_equals_the_formula_and_has_the_bits_of_the_cpu,
    rmsprop_equals_the_formula_and_has_the_bits_of_the_cpu,
    approach_moves_a_part_and_has_the_bits_of_the_cpu,
    sgd_has_the_bits_of_the_cpu,
);

/// Three steps: parameters, first and second moments, all in one.
fn three_steps<B: Optimize>(device: &B, len: usize, adam: &Adam) -> [Vec<f64>; 3] {
    let mut moments = Moments { first: device.zeros(len), second: device.zeros(len), steps: 0 };
    let (mut params, before) = arguments_at(device, 1, &noise(1, len + 5));
    let shared = params.clone();
    for step in 0..3 {
        device.adam(&mut params, &arguments_at(device, step, &noise(2 + step as u64, len)).0, &mut moments, adam);
    }
    assert_eq!(moments.steps, 3);
    assert_eq!(values(device, &shared), before, "earlier views keep the old values");
    let after = values(device, &params);
    assert_eq!(after[len..], before[len..], "parameters beyond the gradient");
    [after, values(device, &moments.first), values(device, &moments.second)]
}

fn adam_equals_the_formula_and_has_the_bits_of_the_cpu<B: Optimize>(device: &B) {
    for len in LENGTHS {
        for adam in [Adam::new(1e-3), Adam { beta1: 0.8, epsilon: 1e-6, decay: 0.02, ..Adam::new(0.1) }] {
            let [params, first, second] = three_steps(device, len, &adam);
            assert_eq!([&params, &first, &second].map(Vec::len), [len + 5, len, len]);
            assert_eq!([params.clone(), first, second], three_steps(&Cpu::<B::Real>::new(), len, &adam));
            let mut want = arguments(device, &noise(1, len + 5)).1;
            let (mut m, mut v) = (vec![0.0; len], vec![0.0; len]);
            for t in 1..=3 {
                let g = noise(1 + t as u64, len);
                for i in 0..len {
                    want[i] -= adam.rate * adam.decay * want[i];
                    m[i] = adam.beta1 * m[i] + (1.0 - adam.beta1) * g[i];
                    v[i] = adam.beta2 * v[i] + (1.0 - adam.beta2) * g[i] * g[i];
                    let (m, v) = (m[i] / (1.0 - adam.beta1.powi(t)), v[i] / (1.0 - adam.beta2.powi(t)));
                    want[i] -= adam.rate * m / (v.sqrt() + adam.epsilon);
                }
            }
            // A moment may cancel to a few roundings of its terms, and the step is the ratio of two.
            let tolerance = 16.0 * roundoff::<B>();
            assert_close(&params, &want, tolerance * (1.0 + 3.0 * adam.rate), tolerance);
        }
    }
}

/// Three steps: parameters and means of squares.
fn three_root_steps<B: Optimize>(device: &B, len: usize, rmsprop: &RmsProp) -> [Vec<f64>; 2] {
    let mut squares = device.zeros(len);
    let (mut params, before) = arguments_at(device, 1, &noise(1, len + 5));
    let shared = [params.clone(), squares.clone()];
    for step in 0..3 {
        device.rmsprop(&mut params, &arguments_at(device, step, &noise(2 + step as u64, len)).0, &mut squares, rmsprop);
    }
    assert_eq!(shared.map(|buffer| values(device, &buffer)), [before.clone(), vec![0.0; len]], "earlier views stay");
    let after = values(device, &params);
    assert_eq!(after[len..], before[len..], "parameters beyond the gradient");
    [after, values(device, &squares)]
}

fn rmsprop_equals_the_formula_and_has_the_bits_of_the_cpu<B: Optimize>(device: &B) {
    for len in LENGTHS {
        for rmsprop in [RmsProp::new(1e-3), RmsProp { alpha: 0.8, epsilon: 1e-6, decay: 0.02, ..RmsProp::new(0.1) }] {
            let [params, squares] = three_root_steps(device, len, &rmsprop);
            assert_eq!([&params, &squares].map(Vec::len), [len + 5, len]);
            assert_eq!([params.clone(), squares.clone()], three_root_steps(&Cpu::<B::Real>::new(), len, &rmsprop));
            let (mut want, mut v) = (arguments(device, &noise(1, len + 5)).1, vec![0.0; len]);
            let RmsProp { rate, alpha, epsilon, decay } = rmsprop;
            for t in 1..=3 {
                for (i, g) in noise(1 + t, len).into_iter().enumerate() {
                    want[i] -= rate * decay * want[i];
                    v[i] = alpha * v[i] + (1.0 - alpha) * g * g;
                    want[i] -= rate * g / (v[i].sqrt() + epsilon);
                }
            }
            let tolerance = 8.0 * roundoff::<B>();
            assert_close(&squares, &v, 0.0, tolerance);
            // Three steps of at most rate / sqrt(1 - alpha) each.
            assert_close(&params, &want, tolerance * (1.0 + 3.0 * rate / (1.0 - alpha).sqrt()), tolerance);
        }
    }
}

fn approached<B: Optimize>(device: &B, len: usize) -> Vec<f64> {
    let (mut params, _) = arguments(device, &noise(1, len + 10));
    device.approach(&mut params, 7, &arguments_at(device, 3, &noise(2, len)).0, 0.1);
    values(device, &params)
}

fn approach_moves_a_part_and_has_the_bits_of_the_cpu<B: Optimize>(device: &B) {
    for len in LENGTHS {
        let got = approached(device, len);
        assert_eq!(got, approached(&Cpu::<B::Real>::new(), len));
        let (before, target) = (arguments(device, &noise(1, len + 10)).1, noise(2, len));
        let moved = |(i, &p): (usize, &f64)| {
            if (7..7 + len).contains(&i) { p + 0.1 * (target[i - 7] - p) } else { p }
        };
        let want: Vec<f64> = before.iter().enumerate().map(moved).collect();
        assert_close(&got, &want, 4.0 * roundoff::<B>(), 0.0);
    }
}

fn descended<B: Optimize>(device: &B, len: usize) -> Vec<f64> {
    let (mut params, _) = arguments_at(device, 3, &noise(1, len));
    device.sgd(&mut params, &arguments(device, &noise(2, len)).0, 0.3);
    values(device, &params)
}

fn sgd_has_the_bits_of_the_cpu<B: Optimize>(device: &B) {
    for len in LENGTHS {
        let got = descended(device, len);
        assert_eq!(got, descended(&Cpu::<B::Real>::new(), len));
        let want: Vec<f64> = noise(1, len).iter().zip(noise(2, len)).map(|(p, g)| p - 0.3 * g).collect();
        assert_close(&got, &want, 4.0 * roundoff::<B>(), 0.0);
    }
}
