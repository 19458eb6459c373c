//! The learning rate over the steps: closed form, and what an update becomes of it.

use sci_hpc::backend::optimize::Adam;
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
