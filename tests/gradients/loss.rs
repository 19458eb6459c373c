//! Losses over what is valid.

use sci_hpc::backend::{Buffers, Cpu};
use sci_hpc::config::Loss;
use sci_hpc::train::loss::evaluate;

#[test]
fn masked_values_take_no_part() {
    let cpu = Cpu::<f32>::new();
    let (y, x) = (cpu.upload(&[1.0, 2.0, 3.0]), cpu.upload(&[0.0, 4.0, -1.0]));
    let valid = cpu.upload(&[1.0, 1.0, 0.0]);
    let squared = evaluate(&cpu, Loss::Squared, (&y, &x), Some(&valid));
    assert_eq!((squared.value(&cpu), &squared.cotangent[..]), (5.0, &[2.0, -4.0, 0.0][..]));
    let absolute = evaluate(&cpu, Loss::Absolute, (&y, &x), Some(&valid));
    assert_eq!((absolute.value(&cpu), &absolute.cotangent[..]), (3.0, &[1.0, -1.0, 0.0][..]));
    assert_eq!(evaluate(&cpu, Loss::Absolute, (&y, &x), None).value(&cpu), 7.0);
}
