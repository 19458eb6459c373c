//! The learning rate over the steps: closed form, and what an update becomes of it; steps of RMSprop in numbers.

use sci_hpc::backend::optimize::{Adam, RmsProp};
use sci_hpc::backend::{Buffers, Cpu};
use sci_hpc::train::Optimizer;

use crate::common::assert_close;

#[test]
fn a_falling_rate_is_half_a_cosine_and_the_updates_follow_it() {
    let cpu = Cpu::<f64>::new();
    let of = |steps| Optimizer::new(&cpu, 1, Adam { epsilon: 0.0, ..Adam::new(0.3) }).falling(steps);
    let rates = |steps| (1..=4).map(|t| of(steps).rate(t)).collect::<Vec<f64>>();
    let root = 0.5f64.sqrt();
    let want = [0.3, 0.15 * (1.0 + root), 0.15, 0.15 * (1.0 - root)];
    assert_close(&rates(Some(4)), &want, 0.0, 1e-12);
    assert_eq!(rates(None), [0.3; 4]);
    assert!(of(Some(4)).rate(5).abs() < 1e-12 && of(Some(4)).rate(9).abs() < 1e-12, "the end is the end");

    // Under a constant gradient an update of Adam is as large as its rate.
    let mut optimizer = of(Some(4));
    let mut params = cpu.upload(&[0.0]);
    let mut path = vec![0.0];
    for _ in 0..4 {
        optimizer.step(&cpu, &mut params, &cpu.upload(&[-2.5]));
        path.push(cpu.download(&params)[0]);
    }
    let updates: Vec<f64> = path.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_close(&updates, &want, 0.0, 1e-9);
}

/// torch.optim.RMSprop(lr=0.1): p = 1, five gradients; numbers of its formula by hand, in double precision.
#[test]
fn rmsprop_steps_by_the_published_formula_and_its_rate_falls_too() {
    let cpu = Cpu::<f64>::new();
    let gradients = [0.5, -0.25, 2.0, 0.0, 1.0e-3];
    let path = |optimizer: &mut Optimizer<Cpu<f64>>| {
        let mut params = cpu.upload(&[1.0]);
        let mut step = |g: &f64| {
            optimizer.step(&cpu, &mut params, &cpu.upload(&[*g]));
            cpu.download(&params)[0]
        };
        gradients.iter().map(&mut step).collect::<Vec<f64>>()
    };
    let mut optimizer = Optimizer::new(&cpu, 1, RmsProp::new(0.1));
    let want =
        [1.9999996003772225e-7, 0.4490133744217505, -0.5146993220302456, -0.5146993220302456, -0.515186045556423];
    assert_close(&path(&mut optimizer), &want, 1e-14, 1e-14);
    let moments = optimizer.moments();
    assert_eq!((moments.steps, cpu.len(&moments.first)), (5, 0));
    assert_close(&cpu.download(&moments.second), &[0.0422119369], 0.0, 1e-9);
    // Under half a cosine every update is a part of that.
    let falling = path(&mut Optimizer::new(&cpu, 1, RmsProp::new(0.1)).falling(Some(4)));
    let part = |i: usize| (falling[i] - falling[i - 1]) / (want[i] - want[i - 1]);
    assert_close(&[falling[0], part(1), part(2)], &[want[0], 0.5 + 0.5f64.sqrt() / 2.0, 0.5], 1e-14, 1e-12);
    assert!((falling[4] - falling[3]).abs() < 1e-15);
}
