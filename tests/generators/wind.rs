//! The wind of `urban-flow` on the emulated GPU: one step follows the other without the host.

use sci_hpc::backend::Cpu;
use sci_hpc::backend::gpu::{Driver, Emulated, Gpu, Math};
use sci_hpc::dataset::generate;
use sci_hpc::world::World;

use super::section;

#[test]
fn a_step_waits_for_the_gpu_only_where_the_force_is_corrected() {
    let (world, driver) = (World::serial(), Emulated::default());
    let gpu = Gpu::<_, f64>::new(driver.clone(), Math::Exact);
    let section = section("grid: [24, 17, 10], buildings: 4");
    let mut wind = generate::start((&world, &gpu), &section, 7).unwrap();
    let mut waits = |_| {
        let before = driver.counts().waits;
        wind.advance(&world);
        driver.counts().waits - before
    };
    let met: Vec<u64> = (0..24).map(&mut waits).collect();
    let want: Vec<u64> = (1..=24).map(|step| u64::from(step % 8 == 0)).collect();
    assert_eq!(met, want);
    let mut cpu = generate::start((&world, &Cpu::new()), &section, 7).unwrap();
    (0..24).for_each(|_| cpu.advance(&world));
    let bits = |values: Vec<f64>| values.into_iter().map(f64::to_bits).collect::<Vec<_>>();
    assert!(bits(wind.state().values) == bits(cpu.state().values), "the bits of the CPU");
}
