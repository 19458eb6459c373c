//! A square cylinder in a uniform stream, on the flow core of `urban-flow`: how often it sheds vortices, and its drag.
//!
//! The stream runs along y between two open ends, the cylinder stands along z, where nothing varies (one layer of cells
//! between two planes of symmetry), and the flow is periodic along x, so that the neighbours are `span` sides away. What
//! enters is given to the core as the halos of its neighbours: equilibrium of the stream (first plane) or of density 1
//! (last plane) plus the departure from equilibrium of the plane next to it (Guo, Zheng and Shi 2002, Chinese Physics 11,
//! 366).
#![allow(dead_code)] // each binary uses its own part

use sci_hpc::backend::lattice::{Collision, Grid, Ground, LEFT, Q, Side, VELOCITIES, equilibrium, opposite, packed};
use sci_hpc::backend::{Buffers, Cpu};
use sci_hpc::dataset::generate::{Flow, Terrain};

/// Geometry in sides of the square, and the numbers of the flow.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Cells along a side of the square.
    pub side: usize,
    /// Distance of neighbours across the stream, from the inlet to the front, from the back to the outlet, in sides.
    pub sides: [usize; 3],
    /// Speed of the stream, cells per step.
    pub speed: f64,
    /// Speed × side / viscosity.
    pub reynolds: f64,
    /// Smagorinsky constant.
    pub smagorinsky: f64,
}

/// What a case comes to.
#[derive(Clone, Copy, Debug)]
pub struct Shedding {
    /// Frequency of the wake × side / speed.
    pub strouhal: f64,
    /// Mean of 2 drag / (density × speed² × side).
    pub drag: f64,
    /// Root mean square of 2 lift / (density × speed² × side).
    pub lift: f64,
    /// Largest over smallest period of those measured.
    pub spread: f64,
}

/// The flow of a case.
pub struct Tunnel {
    case: Case,
    grid: Grid,
    terrain: Terrain,
    flow: Flow<Cpu<f64>>,
    collision: Collision,
}

impl Tunnel {
    /// The stream at once everywhere, pushed to one side behind the cylinder, where shedding begins.
    pub fn new(case: Case) -> Self {
        let [span, front, back] = case.sides.map(|sides| sides * case.side);
        let cells = [span, front + case.side + back, 1];
        let mut terrain = Terrain { ground: Ground::Mirror, ..Terrain::flat(cells) };
        let first = (span - case.side) / 2;
        for y in front..front + case.side {
            terrain.heights[y * span + first..y * span + first + case.side].fill(1);
        }
        let grid = Grid { cells, y: 0..cells[1] };
        let behind = front + case.side..front + 4 * case.side;
        let start = |[_, y, _]: [usize; 3]| [if behind.contains(&y) { 0.2 * case.speed } else { 0.0 }, case.speed, 0.0];
        let flow = Flow::new(&Cpu::new(), (&grid, &terrain), start);
        let collision = Collision::new(case.speed * case.side as f64 / case.reynolds, case.smagorinsky);
        Self { case, grid, terrain, flow, collision }
    }

    /// Cells of the domain.
    pub fn cells(&self) -> usize {
        self.grid.cells.iter().product()
    }

    fn advance(&mut self) {
        self.flow.advance(&self.collision);
        let last = self.grid.cells[1] - 1;
        for (side, plane) in [(Side::Low, 0), (Side::High, last)] {
            let message = self.end(side, plane);
            self.flow.unpack(side, &Cpu::new().upload(&message));
        }
        self.flow.bounce();
    }

    /// What enters at the end beyond `plane`.
    fn end(&self, side: Side, plane: usize) -> Vec<f64> {
        let nx = self.grid.cells[0];
        let mut inside = Vec::new();
        self.flow.read_plane(plane, &mut inside);
        let inward = if side == Side::Low { 1 } else { -1 };
        let entering: Vec<usize> = (0..Q).filter(|&q| VELOCITIES[q][1] == inward).collect();
        // The velocity that follows the populations in a message is for tracers, of which there are none.
        let mut message = vec![0.0; packed(&self.grid)];
        for x in 0..nx {
            let f: [f64; Q] = std::array::from_fn(|q| inside[q * nx + x]);
            let (density, velocity) = moments(&f);
            let near = equilibrium(velocity).map(|f| f * density);
            let beyond = match side {
                Side::Low => equilibrium([0.0, self.case.speed, 0.0]).map(|f| f * density),
                Side::High => equilibrium(velocity),
            };
            for (row, &q) in entering.iter().enumerate() {
                message[row * self.grid.stride() + LEFT + x] = beyond[q] + f[q] - near[q];
            }
        }
        message.chunks_mut(self.grid.stride()).for_each(|row| self.grid.wrap(row));
        message
    }

    /// Lift and drag on the cylinder (x, y): what half-way bounce-back turns around, 2 c f per link (Ladd 1994).
    fn force(&self) -> [f64; 2] {
        let [nx, ny, _] = self.grid.cells;
        let mut force = [0.0; 2];
        let mut plane = Vec::new();
        for y in 1..ny - 1 {
            let near = |x: usize, y: usize| self.terrain.solid(x, y, 0);
            if !(y - 1..=y + 1).any(|y| (0..nx).any(|x| near(x, y))) {
                continue;
            }
            plane.clear();
            self.flow.read_plane(y, &mut plane);
            for (x, q) in (1..nx - 1).flat_map(|x| (1..Q).map(move |q| (x, q))) {
                let [cx, cy, _] = VELOCITIES[q];
                let there = (x.checked_add_signed(cx.into()).unwrap(), y.checked_add_signed(cy.into()).unwrap());
                if !near(x, y) && near(there.0, there.1) {
                    let f = 2.0 * plane[q * nx + x];
                    force[0] += f * f64::from(cx);
                    force[1] += f * f64::from(cy);
                    assert_eq!(VELOCITIES[opposite(q)], VELOCITIES[q].map(|c| -c));
                }
            }
        }
        force
    }

    /// Coefficients of lift and drag, 2 F / (density × speed² × side), after `until` sides of the stream, ten per side.
    pub fn forces(&mut self, until: f64, looks: usize) -> Vec<[f64; 2]> {
        (0..(until * self.per_side()) as usize).for_each(|_| self.advance());
        (0..looks).map(|_| self.look()).collect()
    }

    /// Steps in which the stream goes a side.
    fn per_side(&self) -> f64 {
        self.case.side as f64 / self.case.speed
    }

    /// Steps between two looks at the forces: some 70 looks in a period of St about 0.15.
    fn between(&self) -> usize {
        (self.per_side() / 10.0).max(1.0) as usize
    }

    fn look(&mut self) -> [f64; 2] {
        (0..self.between()).for_each(|_| self.advance());
        self.force().map(|force| 2.0 * force / (self.case.speed * self.case.speed * self.case.side as f64))
    }

    /// Velocity across the stream on the axis three sides behind the cylinder, over the speed: as regular as the lift, and
    /// hardly moved by the sound that a start from nothing leaves between the neighbours.
    fn wake(&self) -> f64 {
        let [span, front, _] = self.case.sides.map(|sides| sides * self.case.side);
        let mut plane = Vec::new();
        self.flow.read_plane(front + 4 * self.case.side, &mut plane);
        let f: [f64; Q] = std::array::from_fn(|q| plane[q * span + span / 2]);
        moments(&f).1[0] / self.case.speed
    }

    /// Measures `periods` periods of the wake after `until` sides of the stream.
    ///
    /// Panics if the wake takes more than ten sides of the stream for a period.
    pub fn shedding(&mut self, until: f64, periods: usize) -> Shedding {
        let (per_side, between) = (self.per_side(), self.between() as f64);
        self.forces(until, 0);
        let mut before = self.wake();
        let (mut rises, mut sums): (Vec<f64>, _) = (Vec::new(), [0.0; 3]);
        let mut step = 0.0;
        while rises.len() <= periods && step < 10.0 * per_side * (periods + 1) as f64 {
            let ([lift, drag], wake) = (self.look(), self.wake());
            step += between;
            if before < 0.0 && wake >= 0.0 {
                rises.push(step - between * wake / (wake - before));
            }
            before = wake;
            if !rises.is_empty() {
                sums = [sums[0] + drag, sums[1] + lift * lift, sums[2] + 1.0];
            }
        }
        let [drag, lift, looks] = sums;
        assert!(rises.len() > periods, "{} rises of the wake in {step} steps", rises.len());
        let lengths: Vec<f64> = rises.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let extreme = |of: fn(f64, f64) -> f64| lengths.iter().copied().reduce(of).unwrap();
        let period = lengths.iter().sum::<f64>() / lengths.len() as f64;
        Shedding {
            strouhal: per_side / period,
            drag: drag / looks,
            lift: (lift / looks).sqrt(),
            spread: extreme(f64::max) / extreme(f64::min),
        }
    }
}

/// Density and velocity of populations.
fn moments(f: &[f64; Q]) -> (f64, [f64; 3]) {
    let density: f64 = f.iter().sum();
    let momentum = |axis: usize| (0..Q).map(|q| f[q] * f64::from(VELOCITIES[q][axis])).sum::<f64>();
    (density, std::array::from_fn(|axis| momentum(axis) / density))
}
