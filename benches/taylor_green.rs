//! The Taylor-Green vortex at Reynolds number 1600 against the reference of 512^3 points, at 100 to 400 its largest
//! dissipation, and the time of a step.
//!
//! `scripts/bench taylor-green [--points 64,96] [--until 5] [--step 128]`
//!
//! Reference: test case C3.5 of the International Workshop on High-Order CFD Methods, file spectral_Re1600_512.gdiag, by
//! the dealiased pseudo-spectral method of van Rees et al. 2011 (J. Comput. Phys. 230, 2794); columns time, energy, -dE/dt.

use std::path::Path;
use std::time::Instant;

use clap::Parser;
use sci_hpc::config;
use sci_hpc::dataset::generate::Simulation;
use sci_hpc::dataset::generate::spectral::Turbulence;
use sci_hpc::world::World;

/// Time of the largest dissipation of the reference at Reynolds number 1600, and that.
const REFERENCE_PEAK: [f64; 2] = [8.97, 0.0128575];

/// Time, energy and dissipation of the reference.
const REFERENCE: [[f64; 3]; 9] = [
    [1.0, 0.124515267367, 0.000518820935],
    [2.0, 0.12391676584, 0.00070756353],
    [3.0, 0.123023878593, 0.001126516665],
    [4.0, 0.121508194351, 0.002066236485],
    [5.0, 0.118435751357, 0.004127097335],
    [6.0, 0.11358111274, 0.005530986305],
    [7.0, 0.107024732124, 0.00736477023],
    [9.0, 0.086403858222, 0.012854539499],
    [10.0, 0.0744791681585, 0.011272054483],
];

/// Compares and times.
#[derive(Parser)]
struct Arguments {
    /// Points along each axis for Reynolds number 1600.
    #[arg(long, value_delimiter = ',', default_value = "48,64")]
    points: Vec<usize>,
    /// Time until which the reference is followed: what is later needs more points.
    #[arg(long, default_value_t = 5.0)]
    until: f64,
    /// Points of the flows at lower Reynolds numbers.
    #[arg(long, default_value_t = 64)]
    peaks: usize,
    /// Points of the step that is timed.
    #[arg(long, default_value_t = 128)]
    step: usize,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn flow(world: &World, cells: usize, reynolds: f64) -> Turbulence {
    let text = format!(
        "job: {{name: t}}\ngenerate: {{name: turbulence, initial: taylor-green, cells: {cells}, viscosity: {}, \
         interval: 0.1, time_step: {}}}\n",
        1.0 / reynolds,
        2.0 / cells as f64
    );
    let job = config::parse(Path::new("job.yaml"), &text, &[]).expect("a job file");
    let numbers = config::Turbulence::of(&job.generate.expect("the section is there"));
    Turbulence::new(world, &numbers, (1, 1)).expect("points for every rank")
}

fn main() {
    let arguments = Arguments::parse();
    let world = World::start().expect("MPI starts");
    for &cells in &arguments.points {
        let mut flow = flow(&world, cells, 1600.0);
        let mut largest = (0.0, 0.0);
        let mut follow = |flow: &mut Turbulence, until: f64| {
            let (start, looks) = (flow.time(), 10);
            for n in 1..=looks {
                flow.advance_to(&world, start + (until - start) * f64::from(n) / f64::from(looks));
                let dissipation = flow.budget(&world).dissipation;
                if dissipation > largest.1 {
                    largest = (flow.time(), dissipation);
                }
            }
        };
        for [time, energy, dissipation] in REFERENCE.into_iter().filter(|[time, ..]| *time <= arguments.until) {
            follow(&mut flow, time);
            let budget = flow.budget(&world);
            let resolution = flow.scales(&budget)[2];
            if world.is_root() {
                println!(
                    "{cells}^3, Re 1600, t = {time}: energy {:.9} ({:+.1e}), dissipation {:.9} ({:+.1e}), kmax eta \
                     {resolution:.2}",
                    budget.energy,
                    budget.energy / energy - 1.0,
                    budget.dissipation,
                    budget.dissipation / dissipation - 1.0
                );
            }
        }
        if world.is_root() && arguments.until >= 10.0 {
            let ([time, reference], (at, dissipation)) = (REFERENCE_PEAK, largest);
            println!(
                "{cells}^3, Re 1600: largest dissipation {dissipation:.7} at t = {at:.1}, the reference {reference} at \
                 {time} ({:+.1e})",
                dissipation / reference - 1.0
            );
        }
    }
    for reynolds in [100.0, 200.0, 400.0] {
        let mut flow = flow(&world, arguments.peaks, reynolds);
        let mut largest = (0.0, 0.0);
        let mut resolution = f64::INFINITY;
        for n in 1..=100 {
            flow.advance_to(&world, f64::from(n) * 0.1);
            let budget = flow.budget(&world);
            resolution = resolution.min(flow.scales(&budget)[2]);
            if budget.dissipation > largest.1 {
                largest = (flow.time(), budget.dissipation);
            }
        }
        if world.is_root() {
            let (time, dissipation) = largest;
            println!(
                "{}^3, Re {reynolds}: largest dissipation {dissipation:.6} at t = {time:.1}, kmax eta >= {resolution:.2}",
                arguments.peaks
            );
        }
    }
    let mut flow = flow(&world, arguments.step, 1600.0);
    flow.advance(&world);
    let mut seconds = Vec::new();
    for _ in 0..5 {
        let start = Instant::now();
        flow.advance(&world);
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    if world.is_root() {
        println!(
            "{}^3, {} ranks, {} threads each: {:.3} s a step (best of 5, median {:.3})",
            arguments.step,
            world.size(),
            rayon::current_num_threads(),
            seconds[0],
            seconds[2]
        );
    }
}
