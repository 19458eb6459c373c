//! What a simulation of wind over a city leaves behind: states, snapshots, pictures, and what they take.

use ndarray::{Array3, Axis};
use serde_json::{Map, Value, json};

use super::super::{DatasetError, Plan, Schedule, Simulation, State, StateLayout};
use super::{Scales, UrbanFlow, flow, tracer};
use crate::archive::{Attributes, Box4, CellGrid, ElementType, FieldSpec, FieldVariable, Values, cf_attributes};
use crate::backend::lattice::{GHOSTS, Grid, LEFT, Lattice, Q};
use crate::config;
use crate::report::figure::{Panel, Slices};
use crate::world::{World, shard};

/// What the netCDF library puts where nothing was written (`NC_FILL_FLOAT`); here: inside buildings.
const FILL: f32 = 9.969_21e36;

/// Steps between two looks at the signals.
const PAUSE: u64 = 32;

/// Floating-point operations per cell and step: about 260 of the collision, 130 of the tracer. Memory traffic, when the
/// fields do not fit the cache: 19 populations read, written and fetched for writing, and the tracer's nine scalars,
/// about 560 bytes.
const FLOPS_PER_CELL: u64 = 390;

/// A variable of the file.
struct VariableSpec {
    name: &'static str,
    /// CF standard name, or empty.
    standard_name: &'static str,
    long_name: &'static str,
    units: &'static str,
}

/// The variables of the file, in the order of [`UrbanFlow::fields`].
const VARIABLES: [VariableSpec; 5] = [
    VariableSpec { name: "u", standard_name: "x_wind", long_name: "wind along x", units: "m s-1" },
    VariableSpec { name: "v", standard_name: "y_wind", long_name: "wind along y", units: "m s-1" },
    VariableSpec { name: "w", standard_name: "upward_air_velocity", long_name: "upward wind", units: "m s-1" },
    VariableSpec {
        name: "pressure",
        standard_name: "",
        long_name: "air pressure minus its mean over the domain",
        units: "Pa",
    },
    VariableSpec { name: "tracer", standard_name: "", long_name: "mass concentration of a tracer", units: "kg m-3" },
];

/// Which cut through the domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// Horizontal, in the second layer of cells: (y, x).
    Street,
    /// Vertical along the wind, through the middle: (z, x).
    Side,
}

/// Layer of cells of [`Cut::Street`].
const STREET_LEVEL: usize = 1;

fn schedule(spec: &config::UrbanFlow) -> Schedule {
    let scales = Scales::of(spec);
    let (spin_up, between) = (scales.steps(spec.spin_up_s, 0), scales.steps(spec.interval_s, 1));
    Schedule { spin_up, between, pause: PAUSE }
}

/// What `snapshots` snapshots take on `ranks` ranks.
pub(in super::super) fn plan(spec: &config::UrbanFlow, snapshots: usize, ranks: usize) -> Plan {
    let steps = schedule(spec).steps(snapshots);
    let [nx, ny, nz] = spec.grid;
    let slab = Grid { cells: spec.grid, y: shard::range(ny, ranks, 0) };
    let values = flow::values_of(&slab) + tracer::values_of(&slab);
    Plan {
        variables: VARIABLES.iter().map(|v| v.name).collect(),
        element: ElementType::F32,
        shape: [snapshots, nz, ny, nx],
        steps,
        flops: steps * (nx * ny * nz) as u64 * FLOPS_PER_CELL,
        bytes_per_rank: (values * size_of::<f64>()) as u64,
    }
}

impl<B: Lattice> Simulation for UrbanFlow<B> {
    fn describe(&self) -> String {
        let scales = self.scales();
        format!(
            "{} buildings, {:?} cells of {:.2} m, steps of {:.3} s, {:.1} MB per rank",
            self.spec.buildings,
            self.spec.grid,
            scales.cell_m,
            scales.step_s,
            self.bytes() as f64 * 1e-6
        )
    }

    fn schedule(&self) -> Schedule {
        schedule(&self.spec)
    }

    fn step(&self) -> u64 {
        self.step
    }

    fn advance(&mut self, world: &World) {
        self.collide();
        self.exchange(world);
        if let Some(planes) = self.disperse() {
            let momentum = self.sum_planes(world, &planes);
            self.steer([momentum[0], momentum[1]]);
        }
    }

    fn check(&mut self, world: &World) -> Result<(), DatasetError> {
        match self.mass(world).is_finite() {
            true => Ok(()),
            false => Err(DatasetError::Diverged {
                step: self.step,
                advice: "lower generate.lattice_speed, or raise generate.smagorinsky",
            }),
        }
    }

    /// (1, y, populations and tracer and z, x).
    fn state_layout(&self) -> StateLayout {
        let [nx, ny, nz] = self.grid.cells;
        let rows = (Q + 1) * nz;
        StateLayout {
            shape: [1, ny, rows, nx],
            region: Box4 { start: [0, self.grid.y.start, 0, 0], len: [1, self.grid.ny(), rows, nx] },
            about: "lattice populations and tracer of every plane",
        }
    }

    /// The planes of this slab, (y, populations and tracer, z, x); shared: the step, the force and the mean wind (x, y).
    fn state(&self) -> State {
        let mut values = Vec::with_capacity(self.state_layout().region.count());
        let mut room = Vec::new();
        let tracer = self.tracer.values(&mut room);
        for y in 0..self.grid.ny() {
            self.flow.read_plane(y, &mut values);
            (0..self.grid.nz()).for_each(|z| values.extend_from_slice(self.scalar_row(tracer, y, z)));
        }
        let ([fx, fy], [wx, wy]) = (self.collision.force, self.mean_wind);
        State { values, shared: vec![self.step as f64, fx, fy, wx, wy] }
    }

    fn restore(&mut self, world: &World, state: &State) {
        let plane = self.grid.nz() * self.grid.nx();
        for (y, values) in state.values.chunks_exact((Q + 1) * plane).enumerate() {
            self.flow.write_plane(y, &values[..Q * plane]);
        }
        self.tracer.restore(state.values.chunks_exact((Q + 1) * plane).map(|values| &values[Q * plane..]));
        let &[step, fx, fy, wx, wy] = &state.shared[..] else { panic!("shared numbers: {:?}", state.shared) };
        (self.step, self.collision.force, self.mean_wind) = (step as u64, [fx, fy], [wx, wy]);
        self.exchange(world);
    }

    fn file(&self) -> FieldSpec {
        let cell_m = self.scales.cell_m;
        let [nx, ny, nz] = self.grid.cells;
        let grid = CellGrid { cells: [nz, ny, nx], spacing_m: [cell_m; 3], origin_m: [0.5 * cell_m; 3] };
        let variables = VARIABLES.iter().map(|variable| {
            let mut field = FieldVariable::new(variable.name, variable.units, variable.long_name);
            if !variable.standard_name.is_empty() {
                field = field.standard(variable.standard_name);
            }
            field.attributes.put_numbers("_FillValue", vec![FILL]);
            field
        });
        let Schedule { spin_up, between, .. } = self.schedule();
        let time_s = |n: u64| (spin_up + n * between) as f64 * self.scales.step_s;
        let times_s = (1..=self.snapshots as u64).map(time_s).collect();
        let mut file = FieldSpec::cartesian(&grid, times_s, variables.collect());
        let mut attributes = Attributes::default();
        attributes.put_text("title", "wind and a tracer over a city");
        attributes.put_text("source", "sci-hpc generate urban-flow: lattice-Boltzmann D3Q19, Smagorinsky");
        attributes.put_text("comment", "synthetic: buildings and weather are drawn from a seed");
        file.attributes = cf_attributes(&attributes);
        file
    }

    fn region(&self) -> Box4 {
        let [nx, _, nz] = self.grid.cells;
        Box4 { start: [0, 0, self.grid.y.start, 0], len: [1, nz, self.grid.ny(), nx] }
    }

    fn snapshot(&self, world: &World) -> Vec<Values> {
        let filled = |field: Array3<f32>| field.iter().map(|&x| if x.is_nan() { FILL } else { x }).collect();
        self.fields(world).into_iter().map(|field| Values::F32(filled(field))).collect()
    }

    fn picture(&self, world: &World) -> Slices {
        let fields = self.fields(world);
        let mut panels = Vec::new();
        for (field, variable) in [(0, "u"), (2, "w"), (4, "tracer")] {
            for (cut, place) in [(Cut::Street, "street level"), (Cut::Side, "side view")] {
                let (values, columns) = self.cut(world, &fields[field], cut);
                panels.push(Panel {
                    name: format!("{variable}, {place}"),
                    unit: VARIABLES[field].units.into(),
                    x_label: "x (cells)".into(),
                    y_label: if cut == Cut::Street { "y (cells)".into() } else { "z (cells)".into() },
                    columns,
                    values: values.into_iter().map(|v| v.is_finite().then_some(v)).collect(),
                    range: None,
                    diverging: variable == "w",
                });
            }
        }
        let time_s = self.step as f64 * self.scales.step_s;
        Slices {
            title: "Generated flow".into(),
            caption: format!("Last snapshot, {time_s:.0} s after the start. Buildings are blank."),
            panels,
            per_row: None,
        }
    }

    fn metrics(&self, world: &World) -> Map<String, Value> {
        let error = (self.mass(world) / self.mass_start - 1.0).abs();
        [("mass_error_rel".to_string(), json!(error))].into_iter().collect()
    }
}

impl<B: Lattice> UrbanFlow<B> {
    /// The variables of the file on this slab, (z, y, x) each, NaN in buildings. Collective.
    pub(super) fn fields(&self, world: &World) -> Vec<Array3<f32>> {
        let mean_density = self.mass(world) / self.air_cells;
        let scale = self.scales.velocity_m_s();
        let mut fields: Vec<Array3<f32>> = Vec::new();
        let mut room = Vec::new();
        for component in self.flow.velocity(&mut room) {
            fields.push(self.field(|y, z| self.scalar_row(component, y, z).iter().map(|u| u * scale).collect()));
        }
        let pressure = self.scales.pressure_pa();
        let (density, nx, nz) = (self.flow.density(), self.grid.nx(), self.grid.nz());
        fields.push(self.field(|y, z| {
            let density = &density[(y * nz + z) * nx..][..nx];
            density.iter().map(|density| (density - mean_density) * pressure).collect()
        }));
        let (scale, mut room) = (self.scales.tracer_kg_m3(), Vec::new());
        let tracer = self.tracer.values(&mut room);
        fields.push(self.field(|y, z| self.scalar_row(tracer, y, z).iter().map(|c| c * scale).collect()));
        fields
    }

    pub(super) fn scalar_row<'a>(&self, scalar: &'a [f64], y: usize, z: usize) -> &'a [f64] {
        let start = self.grid.row(y + GHOSTS, z) + LEFT;
        &scalar[start..start + self.grid.nx()]
    }

    /// Gathers rows (y, z) into (z, y, x), NaN in buildings.
    fn field(&self, row: impl Fn(usize, usize) -> Vec<f64>) -> Array3<f32> {
        let (nx, ny, nz) = (self.grid.nx(), self.grid.ny(), self.grid.nz());
        let mut field = Array3::from_elem((nz, ny, nx), f32::NAN);
        for z in 0..nz {
            for y in 0..ny {
                for (x, value) in row(y, z).into_iter().enumerate() {
                    if !self.terrain.solid(x, self.grid.y.start + y, z) {
                        field[(z, y, x)] = value as f32;
                    }
                }
            }
        }
        field
    }

    /// A cut through a field, gathered on every rank: values and the length of a row. Collective.
    fn cut(&self, world: &World, field: &Array3<f32>, cut: Cut) -> (Vec<f32>, usize) {
        let mine: Vec<f32> = match cut {
            Cut::Street => field.index_axis(Axis(0), STREET_LEVEL).iter().copied().collect(),
            Cut::Side => {
                let middle = self.grid.cells[1] / 2;
                let own = self.grid.y.contains(&middle).then(|| field.index_axis(Axis(1), middle - self.grid.y.start));
                own.iter().flatten().copied().collect()
            }
        };
        (world.all_gather_varied(&mine), self.grid.nx())
    }
}
