//! Tables, figures and numbers of one group.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::config;
use crate::job::groups::Group;
use crate::job::{Context, JobError};
use crate::report::figure::{Lines, Panel, Series, Slices};
use crate::report::{Figure, write_atomic};

use super::Name;
use super::outcome::{Outcome, Outcomes};
use super::states::States;

/// Everything the methods of one group reached.
#[derive(Default)]
pub(super) struct GroupReport {
    methods: Vec<(config::Method, String, Outcomes)>,
}

const COLUMNS: [&str; 26] = [
    "method",
    "state",
    "sample",
    "time",
    "da",
    "ref",
    "rmse",
    "mae",
    "ref_mae",
    "improved",
    "observations",
    "cost_initial",
    "cost_final",
    "j_b",
    "j_o",
    "chi2",
    "iterations",
    "evaluations",
    "o_b_mean",
    "o_b_rms",
    "o_a_mean",
    "o_a_rms",
    "online_s",
    "encode_s",
    "decode_s",
    "spread",
];

impl GroupReport {
    /// Takes the outcomes of a method and logs them.
    pub(super) fn add(&mut self, ctx: &Context, method: &config::Method, label: &str, outcomes: Outcomes) {
        let spread = outcomes.mean(|o| o.spread);
        let posterior = match spread.is_nan() {
            true => String::new(),
            false => format!(", spread {spread:.4} of an error of {:.4}", outcomes.mean(|o| o.rmse)),
        };
        ctx.report.log(format_args!(
            "assimilate {label}: error {:.4} (background {:.4}){posterior}, {:.1} iterations, {:.4} s online",
            outcomes.mean(|o| o.da),
            outcomes.mean(|o| o.reference),
            outcomes.mean(|o| o.iterations),
            outcomes.median(|o| o.timing.online_s)
        ));
        self.methods.push((*method, label.into(), outcomes));
    }

    /// The objects of `metrics.json`, one per method.
    pub(super) fn metrics(&self, group: &Group) -> Vec<Value> {
        let one = |(method, label, o): &(config::Method, String, Outcomes)| {
            let coded = o.latent.is_some();
            json!({
                "name": method.name, "label": label, "variables": group.variables,
                "modes": o.modes, "form": method.form, "latent": o.latent,
                "observations": o.states[0].observations as u64, "da_mse": o.mean(|s| s.da), "ref_mse": o.mean(|s| s.reference),
                "rmse": o.mean(|s| s.rmse), "mae": o.mean(|s| s.mae), "ref_mae": o.mean(|s| s.mae_reference),
                "spread": Some(o.mean(|s| s.spread)).filter(|spread| spread.is_finite()),
                "improved_share": o.mean(|s| s.improved), "chi2": o.mean(|s| s.chi2),
                "cost_initial": o.mean(|s| s.cost_initial), "cost_final": o.mean(|s| s.cost_final),
                "iterations": o.mean(|s| s.iterations), "evaluations": o.mean(|s| s.evaluations),
                "desroziers_observation": o.mean(|s| s.desroziers[0]),
                "desroziers_background": o.mean(|s| s.desroziers[1]),
                "offline_s": o.offline_s, "online_s_median": o.median(|s| s.timing.online_s),
                "encode_s_median": coded.then(|| o.median(|s| s.timing.encode_s)),
                "decode_s_median": coded.then(|| o.median(|s| s.timing.decode_s)),
            })
        };
        self.methods.iter().map(one).collect()
    }

    /// Writes the tables per state and per iteration, and the figures.
    /// `truth` is the plane of the first state that the outcomes keep of its analyses.
    pub(super) fn write(&self, ctx: &Context, (states, truth): (&States, &[f64]), name: &Name) -> Result<(), JobError> {
        for (_, label, outcomes) in &self.methods {
            for o in &outcomes.states {
                let sample = states.test[o.position as usize];
                let fields = json!({"method": label, "sample": sample, "da": o.da, "ref": o.reference,
                    "J": o.cost_final, "Jb": o.j_b, "Jo": o.j_o, "iterations": o.iterations});
                ctx.report.event("analysis", fields)?;
            }
        }
        if ctx.world.is_root() {
            let folder = ctx.output.file("assimilation");
            write_atomic(&folder.join(name.of("states.csv")), self.states_csv(states).as_bytes())?;
            write_atomic(&folder.join(name.of("cost.csv")), self.cost_csv(states).as_bytes())?;
        }
        ctx.report.figure(&format!("50-{}", name.of("assimilate-1-error")), &Figure::Lines(self.errors(states)))?;
        ctx.report.figure(&format!("50-{}", name.of("assimilate-2-cost")), &Figure::Lines(self.costs()))?;
        Ok(ctx
            .report
            .figure(&format!("50-{}", name.of("assimilate-3-fields")), &Figure::Slices(self.slices(states, truth)))?)
    }

    fn states_csv(&self, states: &States) -> String {
        let mut text = COLUMNS.join(",") + "\n";
        for (_, label, outcomes) in &self.methods {
            for o in &outcomes.states {
                let sample = states.test[o.position as usize];
                let _ = write!(text, "{label},{},{sample},{}", o.position, states.time(sample));
                for number in numbers(o) {
                    let _ = write!(text, ",{number}");
                }
                text.push('\n');
            }
        }
        text
    }

    fn cost_csv(&self, states: &States) -> String {
        let mut text = String::from("method,sample,iteration,J,Jb,Jo,gradient_norm\n");
        for (_, label, outcomes) in &self.methods {
            for line in &outcomes.trace {
                let sample = states.test[line.position as usize];
                let (j_b, j_o) = (line.j_b, line.j_o);
                let _ = writeln!(
                    text,
                    "{label},{sample},{},{},{j_b},{j_o},{}",
                    line.iteration,
                    j_b + j_o,
                    line.gradient_norm
                );
            }
        }
        text
    }

    fn errors(&self, states: &States) -> Lines {
        let x = |o: &Outcome| states.test[o.position as usize] as f64;
        let curve = |name: &str, outcomes: &Outcomes, value: &dyn Fn(&Outcome) -> f64| Series {
            name: name.into(),
            points: outcomes.states.iter().map(|o| (x(o), value(o))).collect(),
            markers: outcomes.states.len() == 1,
        };
        let mut series: Vec<Series> = self.methods.iter().map(|(_, label, o)| curve(label, o, &|o| o.da)).collect();
        series.extend(self.methods.first().map(|(_, _, o)| curve("background", o, &|o| o.reference)));
        Lines {
            title: "Analysis error by test state".into(),
            caption:
                "||analysis - truth|| / ||truth|| on the absolute state, and the same for the background, the mean \
                      of the training states."
                    .into(),
            x_label: "sample".into(),
            y_label: "relative L2 error".into(),
            y_log: true,
            series,
            ..Lines::default()
        }
    }

    fn slices(&self, states: &States, truth: &[f64]) -> Slices {
        let variable = &states.variables[0];
        let finite = || truth.iter().map(|&x| x as f32).filter(|x| x.is_finite());
        let range = Some((finite().fold(f32::INFINITY, f32::min), finite().fold(f32::NEG_INFINITY, f32::max)));
        let range = range.filter(|(low, high)| low < high);
        let panel = |name: &str, of: &dyn Fn(usize) -> f64, diverging: bool| Panel {
            name: name.into(),
            unit: variable.units.clone(),
            x_label: format!("{} (index)", states.coordinates[3].name),
            y_label: format!("{} (index)", states.coordinates[2].name),
            columns: states.extent.grid[2],
            values: (0..truth.len()).map(|i| truth[i].is_finite().then(|| of(i) as f32)).collect(),
            range: range.filter(|_| !diverging),
            diverging,
        };
        // A row per method, and the colors of the truth for all, so that they can be compared.
        let mut panels = Vec::new();
        for (_, label, outcomes) in &self.methods {
            if outcomes.plane.len() == truth.len() {
                panels.push(panel(&format!("{}, truth", variable.name), &|i| truth[i], false));
                panels.push(panel(&format!("{label}, analysis"), &|i| outcomes.plane[i], false));
                panels.push(panel("minus truth", &|i| outcomes.plane[i] - truth[i], true));
            }
        }
        Slices {
            title: "First test state".into(),
            caption: format!("Middle plane along {}.", states.coordinates[1].name),
            panels,
            per_row: Some(3),
        }
    }

    fn costs(&self) -> Lines {
        let curve = |(_, label, outcomes): &(config::Method, String, Outcomes)| {
            let first = outcomes.trace.iter().filter(|line| line.position == 0.0);
            let points: Vec<(f64, f64)> = first.map(|line| (line.iteration, line.j_b + line.j_o)).collect();
            Series { name: label.clone(), markers: points.len() < 3, points }
        };
        Lines {
            title: "Cost by iteration".into(),
            caption: "J of the first test state. Costs of different spaces are not comparable, their decrease is."
                .into(),
            x_label: "iteration".into(),
            y_label: "J".into(),
            y_log: true,
            series: self.methods.iter().map(curve).collect(),
            ..Lines::default()
        }
    }
}

/// The columns from `da` on.
fn numbers(o: &Outcome) -> [f64; 22] {
    [
        o.da,
        o.reference,
        o.rmse,
        o.mae,
        o.mae_reference,
        o.improved,
        o.observations,
        o.cost_initial,
        o.cost_final,
        o.j_b,
        o.j_o,
        o.chi2,
        o.iterations,
        o.evaluations,
        o.o_b[0],
        o.o_b[1],
        o.o_a[0],
        o.o_a[1],
        o.timing.online_s,
        o.timing.encode_s,
        o.timing.decode_s,
        o.spread,
    ]
}
