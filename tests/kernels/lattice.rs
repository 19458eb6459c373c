//! Lattice-Boltzmann steps: the bits of the CPU, whose own slow twins are in src/backend/lattice/collide.rs and
//! src/dataset/generate/flow.rs.

use sci_hpc::backend::lattice::{
    Carried, Carrying, Collision, Fields, GHOSTS, Grid, Ground, Lattice, Obstacles, Q, Side, equilibrium,
};

use crate::common::{integers, noise};
use crate::{device_f64, least_seconds, on_threads};

/// One cell, one row, one layer, odd extents, rows around a vector and a block of threads; a slab in the midst of a domain.
const GRIDS: [([usize; 3], std::ops::Range<usize>); 9] = [
    ([1, 1, 1], 0..1),
    ([2, 1, 3], 0..1),
    ([5, 1, 1], 0..1),
    ([3, 2, 5], 0..2),
    ([7, 9, 3], 2..7),
    ([4, 3, 2], 0..3),
    ([33, 2, 4], 0..2),
    ([127, 4, 2], 1..3),
    ([91, 3, 5], 0..3),
];

mod steps_have_the_bits_of_the_cpu {
    #[test]
    #[cfg(feature = "emulate")]
    fn emulated_f64() {
        crate::emulated::<f64>().iter().for_each(super::steps_have_the_bits_of_the_cpu);
    }
    #[test]
    #[ignore = "needs a GPU: scripts/check-gpu"]
    fn cuda_f64() {
        super::steps_have_the_bits_of_the_cpu(&crate::cuda::<f64>());
    }
}

/// Populations away from equilibrium, ghosts included.
fn disturbed(grid: &Grid) -> Vec<f64> {
    let rest = equilibrium([0.08, -0.03, 0.05]);
    let noise = noise(5, grid.populations());
    noise.iter().enumerate().map(|(i, v)| rest[i / grid.block() % Q] * (1.0 + 0.1 * v)).collect()
}

/// Columns from none to full ones, and pairs of places all over the populations, each once.
fn obstacles(grid: &Grid, ground: Ground) -> Obstacles {
    let heights = integers(6, grid.ny() * grid.nx(), grid.nz() as i64).iter().map(|h| h.max(0.0) as u32).collect();
    let places: Vec<u64> = (0..grid.populations() as u64).collect();
    let links = places.chunks_exact(7).map(|place| [place[0], place[5]]).collect();
    Obstacles { ground, heights, links }
}

fn start<B: Lattice>(device: &B, grid: &Grid) -> Fields<B::Buffer> {
    let now = disturbed(grid);
    Fields { next: device.adopt(now.clone()), now: device.adopt(now), velocity: device.zeros(3 * grid.scalar()) }
}

/// Something everywhere, among buildings.
fn scalar<B: Lattice>(device: &B, grid: &Grid) -> Carried<B::Buffer> {
    let air = integers(11, grid.scalar(), 3).iter().map(|&v| f64::from(v > -3.0)).collect();
    let now: Vec<f64> = noise(12, grid.scalar()).iter().map(|v| v * v).collect();
    Carried { next: device.zeros(now.len()), now: device.adopt(now), air: device.adopt(air) }
}

/// Sources in the first cell and in the last.
fn carrying(grid: &Grid) -> Carrying {
    let cells = GHOSTS * grid.plane()..(GHOSTS + grid.ny() - 1) * grid.plane() + grid.row(0, grid.nz() - 1) + grid.nx();
    let mut sources = [u64::MAX; 9];
    (sources[0], sources[1]) = (cells.start as u64 + 2, cells.end as u64 + 1);
    Carrying { diffusivity: 1e-3, emission: 0.125, sources }
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// Steps, messages and densities, one after the other.
fn history<B: Lattice>(device: &B, grid: &Grid, ground: Ground, with: &Collision) -> Vec<Vec<u64>> {
    let (slab, mut fields) = (device.slab(grid, obstacles(grid, ground)), start(device, grid));
    let (mut history, mut carried) = (Vec::new(), scalar(device, grid));
    for _ in 0..3 {
        device.advance(&slab, &mut fields, with);
        for (side, from) in [(Side::Low, Side::High), (Side::High, Side::Low)] {
            let message = device.pack(&slab, &fields, from);
            device.unpack(&slab, &mut fields, side, &message);
            history.push(bits(&device.download(&message)));
        }
        device.bounce(&slab, &mut fields.now);
        let mut room = Vec::new();
        history.push(bits(&device.density(&slab, &fields.now)));
        history.push(bits(device.on_host(&fields.now, &mut room)));
        history.push(bits(device.on_host(&fields.velocity, &mut room)));
        history.push(bits(&device.row_sums(&slab, &fields.velocity)));
        device.carry(&slab, &mut carried, &fields.velocity, &carrying(grid));
        history.push(bits(&device.download(&carried.now)));
        // From both ends to both ghosts.
        let (halo, inner) = (GHOSTS * grid.plane(), grid.ny() * grid.plane());
        let [first, last] = [halo, inner].map(|start| device.part(&carried.now, start..start + halo));
        device.paste(&mut carried.now, 0, &last);
        device.paste(&mut carried.now, halo + inner, &first);
    }
    let values = device.upload(&noise(8, grid.block()));
    device.paste(&mut fields.now, grid.block(), &values);
    history.push(bits(&device.download(&fields.now)));
    history
}

fn steps_have_the_bits_of_the_cpu<B: Lattice>(device: &B) {
    for (cells, y) in GRIDS {
        let grid = Grid { cells, y };
        for ground in [Ground::Wall, Ground::Mirror] {
            for (smagorinsky, force) in [(0.17, [0.0; 2]), (0.17, [1e-4, -2e-5]), (0.0, [0.0, 1e-3])] {
                let with = Collision { force, ..Collision::new(5e-4, smagorinsky) };
                let want = history(&device_f64(), &grid, ground, &with);
                let got = history(device, &grid, ground, &with);
                assert!(want.iter().flatten().all(|&v| f64::from_bits(v).is_finite()), "{grid:?}");
                let differs = got.iter().zip(&want).position(|(got, want)| got != want);
                assert!(differs.is_none() && got.len() == want.len(), "{grid:?} {ground:?} {with:?}: {differs:?}");
            }
        }
    }
}

#[test]
#[cfg(feature = "emulate")]
fn field_that_is_handed_over_in_pieces_comes_whole() {
    use sci_hpc::backend::Buffers;
    let [device, _] = crate::emulated::<f64>();
    let values = noise(9, (2 << 20) + 3);
    assert!(device.download(&device.adopt(values.clone())) == values);
    assert!(device.download(&device.adopt(Vec::new())).is_empty());
}

#[test]
#[cfg(feature = "emulate")]
#[should_panic(expected = "a message of 3 values")]
fn message_of_another_length_panics() {
    let (device, grid) = (crate::emulated::<f64>().into_iter().next().unwrap(), Grid { cells: [5, 4, 3], y: 0..4 });
    let slab = device.slab(&grid, obstacles(&grid, Ground::Wall));
    let message = device.adopt(vec![0.0; 3]);
    device.unpack(&slab, &mut start(&device, &grid), Side::Low, &message);
}

/// `cargo test --release --test kernels -- --ignored --nocapture perf_lattice`
#[test]
#[ignore = "a measurement"]
fn perf_lattice_rate() {
    let (device, grid) = (device_f64(), Grid { cells: [91, 85, 32], y: 0..85 });
    let slab = device.slab(&grid, Obstacles { heights: vec![0; 85 * 91], ..obstacles(&grid, Ground::Wall) });
    let fields = std::sync::Mutex::new(start(&device, &grid));
    let with = Collision::new(5e-4, 0.17);
    for threads in [1, 2] {
        let step = || device.advance(&slab, &mut fields.lock().unwrap(), &with);
        let seconds = on_threads(threads, || least_seconds(9, &step));
        let cells: usize = grid.cells.iter().product();
        println!("{threads} threads: {:6.1} million cells/s", cells as f64 / seconds / 1e6);
    }
}
