//! Chaotic systems along one line: small enough that every rank computes all of it.

use serde_json::{Map, Value};

use super::periodic::{self, ELEMENT};
use super::{DatasetError, Plan, Schedule, Simulation, State, StateLayout};
use crate::archive::{Box4, FieldSpec, Values};
use crate::report::figure::{Lines, Series, Slices};
use crate::world::World;

/// The equation of a chain.
pub trait Equation {
    /// What is simulated, for the log.
    fn describe(&self) -> String;

    /// Name of the variable and its meaning; title and source of the file.
    fn words(&self) -> [&'static str; 4];

    /// Distance of the points, in units of the equation.
    fn spacing(&self) -> f64;

    /// Goes one time step on.
    fn advance(&mut self, u: &mut [f64]);

    /// What can be told about a state.
    fn metrics(&self, u: &[f64]) -> Map<String, Value>;
}

/// A simulation of an equation on a line.
pub struct Chain<E> {
    equation: E,
    /// The values, which are the state.
    u: Vec<f64>,
    schedule: Schedule,
    time_step: f64,
    snapshots: usize,
    step: u64,
}

/// What `snapshots` snapshots of `cells` points take at `flops` operations a step.
pub(super) fn plan(
    (variable, cells, flops): (&'static str, usize, u64),
    schedule: &Schedule,
    snapshots: usize,
) -> Plan {
    let steps = schedule.steps(snapshots);
    Plan {
        variables: vec![variable],
        element: ELEMENT,
        shape: [snapshots, 1, 1, cells],
        steps,
        flops: steps * flops,
        bytes_per_rank: (16 * cells * size_of::<f64>()) as u64,
    }
}

impl<E: Equation> Chain<E> {
    /// From the values `u` on, in steps of `time_step`.
    pub(super) fn new(equation: E, u: Vec<f64>, (schedule, time_step): (Schedule, f64), snapshots: usize) -> Self {
        Self { equation, u, schedule, time_step, snapshots, step: 0 }
    }

    fn time(&self) -> f64 {
        self.step as f64 * self.time_step
    }
}

impl<E: Equation> Simulation for Chain<E> {
    fn describe(&self) -> String {
        format!("{}, {} points, time step {:.3e}", self.equation.describe(), self.u.len(), self.time_step)
    }

    fn schedule(&self) -> Schedule {
        self.schedule
    }

    fn step(&self) -> u64 {
        self.step
    }

    fn advance(&mut self, _: &World) {
        self.equation.advance(&mut self.u);
        self.step += 1;
    }

    fn check(&mut self, _: &World) -> Result<(), DatasetError> {
        match self.u.iter().all(|u| u.is_finite()) {
            true => Ok(()),
            false => Err(DatasetError::Diverged { step: self.step, advice: "lower generate.time_step" }),
        }
    }

    fn is_replicated(&self) -> bool {
        true
    }

    fn state_layout(&self) -> StateLayout {
        let shape = [1, 1, 1, self.u.len()];
        StateLayout { shape, region: Box4::whole(shape), about: "values of all points" }
    }

    fn state(&self) -> State {
        State { values: self.u.clone(), shared: vec![self.step as f64] }
    }

    fn restore(&mut self, _: &World, state: &State) {
        assert_eq!(state.values.len(), self.u.len(), "values of all points");
        self.u.clone_from(&state.values);
        self.step = state.shared[0] as u64;
    }

    fn file(&self) -> FieldSpec {
        let [name, about, title, source] = self.equation.words();
        let times = periodic::times(&self.schedule, self.time_step, self.snapshots);
        let points = ([1, 1, self.u.len()], self.equation.spacing());
        periodic::file(points, times, &[(name, about)], [title, source])
    }

    fn region(&self) -> Box4 {
        Box4::whole([1, 1, 1, self.u.len()])
    }

    fn snapshot(&self, _: &World) -> Vec<Values> {
        vec![periodic::stored(&self.u)]
    }

    fn picture(&self, _: &World) -> Slices {
        Slices::default()
    }

    fn curves(&self, _: &World) -> Option<Lines> {
        let [name, about, title, _] = self.equation.words();
        let points = self.u.iter().enumerate().map(|(i, &u)| (i as f64 * self.equation.spacing(), u)).collect();
        Some(Lines {
            title: format!("Generated: {title}"),
            caption: format!("Last snapshot, time {:.2}.", self.time()),
            x_label: "x".into(),
            y_label: format!("{name}, {about}"),
            series: vec![Series { name: name.into(), points, markers: false }],
            ..Lines::default()
        })
    }

    fn metrics(&self, _: &World) -> Map<String, Value> {
        self.equation.metrics(&self.u)
    }
}
