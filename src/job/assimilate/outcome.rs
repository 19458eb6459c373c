//! What one analysis reached, as numbers that travel between ranks.

use bytemuck::{Pod, Zeroable};

use crate::assimilate::minimizer::TracePoint;
use crate::assimilate::{AssimilateError, Layout, diagnose};
use crate::dataset::Extent;
use crate::world::World;

use super::solve::Solved;

/// Seconds of one state.
#[derive(Clone, Copy, Debug, Default, Zeroable, Pod)]
#[repr(C)]
pub(super) struct Timing {
    /// From the innovation to the analysis in physical units.
    pub(super) online_s: f64,
    /// Making the latent of the observations; not part of the online time.
    pub(super) encode_s: f64,
    /// The decoder alone; part of the online time.
    pub(super) decode_s: f64,
}

/// Scores and costs of one state; all fields are f64 so that ranks can send it.
#[derive(Clone, Copy, Debug, Default, Zeroable, Pod)]
#[repr(C)]
pub(super) struct Outcome {
    /// Place among the test states, from 0.
    pub(super) position: f64,
    /// ||x_a - x_t|| / ||x_t|| (seed 004 eq. 70, there called DA MSE).
    pub(super) da: f64,
    /// ||x_b - x_t|| / ||x_t||
    pub(super) reference: f64,
    /// Root mean square of x_a - x_t, physical units.
    pub(super) rmse: f64,
    /// Mean of |x_a - x_t|.
    pub(super) mae: f64,
    /// Mean of |x_b - x_t|.
    pub(super) mae_reference: f64,
    /// Share of values closer to the truth than the background.
    pub(super) improved: f64,
    /// Observations, latent ones in the bi-reduced space.
    pub(super) observations: f64,
    /// J(0)
    pub(super) cost_initial: f64,
    /// J at the end, and its two terms.
    pub(super) cost_final: f64,
    pub(super) j_b: f64,
    pub(super) j_o: f64,
    /// Iterations of the minimizer.
    pub(super) iterations: f64,
    /// Evaluations of the cost.
    pub(super) evaluations: f64,
    /// 2 J / p
    pub(super) chi2: f64,
    /// Mean and root mean square of O - B, then of O - A.
    pub(super) o_b: [f64; 2],
    pub(super) o_a: [f64; 2],
    /// Error variances by Desroziers: observation, background.
    pub(super) desroziers: [f64; 2],
    /// Root mean square of the standard deviation of the posterior, physical units; NaN where it is not asked for.
    pub(super) spread: f64,
    /// Seconds.
    pub(super) timing: Timing,
}

/// A line of the cost trace.
#[derive(Clone, Copy, Debug, Zeroable, Pod)]
#[repr(C)]
pub(super) struct TraceLine {
    pub(super) position: f64,
    pub(super) iteration: f64,
    pub(super) j_b: f64,
    pub(super) j_o: f64,
    pub(super) gradient_norm: f64,
}

impl Outcome {
    /// Scores an analysis: `fields` are x_a, x_b and x_t in physical units in the rows of `layout` that `world` shares;
    /// where the truth is masked nothing is compared.
    ///
    /// Errors: `Analysis` if x_a is not finite where x_t is.
    pub(super) fn new(
        world: &World,
        (layout, fields): (&Layout, [&[f64]; 3]),
        position: usize,
        solved: &Solved,
    ) -> Result<Self, AssimilateError> {
        let [da2, ref2, truth2, mae, mae_reference, improved, n] = sums(world, layout, fields);
        if !mae.is_finite() {
            return Err(AssimilateError::Analysis { position });
        }
        let Solved { minimum, cost, timing } = solved;
        let seen = diagnose::departures(cost, &minimum.w, minimum.last().j());
        Ok(Self {
            position: position as f64,
            da: (da2 / truth2).sqrt(),
            reference: (ref2 / truth2).sqrt(),
            rmse: (da2 / n).sqrt(),
            mae: mae / n,
            mae_reference: mae_reference / n,
            improved: improved / n,
            observations: cost.design().observations() as f64,
            cost_initial: minimum.cost_initial(),
            cost_final: minimum.last().j(),
            j_b: minimum.last().j_b,
            j_o: minimum.last().j_o,
            iterations: minimum.iterations() as f64,
            evaluations: minimum.evaluations as f64,
            chi2: seen.chi2,
            o_b: [seen.mean_background, seen.rms_background],
            o_a: [seen.mean_analysis, seen.rms_analysis],
            desroziers: [seen.desroziers_observation, seen.desroziers_background],
            spread: f64::NAN,
            timing: *timing,
        })
    }

    /// The same with the spread of the posterior in the rows of `layout` that `world` shares, if there is one.
    pub(super) fn with_spread(
        self,
        world: &World,
        (layout, truth): (&Layout, &[f64]),
        spread: Option<&Vec<f64>>,
    ) -> Self {
        let Some(spread) = spread else { return self };
        let [squares, n] = sums_where_valid(world, layout, [spread, truth], |[s, _]| [s * s, 1.0]);
        Self { spread: (squares / n).sqrt(), ..self }
    }
}

fn sums(world: &World, layout: &Layout, fields: [&[f64]; 3]) -> [f64; 7] {
    sums_where_valid(world, layout, fields, |[a, b, t]| {
        let (after, before) = (a - t, b - t);
        let closer = f64::from(u8::from(after.abs() < before.abs()));
        [after * after, before * before, t * t, after.abs(), before.abs(), closer, 1.0]
    })
}

/// Sums of terms over the values where the last field, the truth, is finite.
fn sums_where_valid<const K: usize, const N: usize>(
    world: &World,
    layout: &Layout,
    fields: [&[f64]; K],
    terms: impl Fn([f64; K]) -> [f64; N],
) -> [f64; N] {
    let pieces = fields.map(|field| layout.split(field));
    let chunk = |i: usize| {
        let mut sum = vec![0.0; N];
        for at in 0..pieces[0][i].len() {
            let values: [f64; K] = std::array::from_fn(|field| pieces[field][i][at]);
            if values[K - 1].is_finite() {
                sum.iter_mut().zip(terms(values)).for_each(|(sum, term)| *sum += term);
            }
        }
        sum
    };
    let owned = layout.owned();
    let chunks: Vec<Vec<f64>> = (0..owned.len()).map(chunk).collect();
    world.tree_sum(layout.chunks(), &owned, &chunks, N).try_into().expect("as many sums as terms")
}

/// All states of one method.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcomes {
    /// Modes kept, if truncated.
    pub(super) modes: Option<usize>,
    /// Length of a latent, if there is one.
    pub(super) latent: Option<usize>,
    /// Seconds before the first state: G, V_l.
    pub(super) offline_s: f64,
    /// By position.
    pub(super) states: Vec<Outcome>,
    /// By position and iteration.
    pub(super) trace: Vec<TraceLine>,
    /// One plane of constant z of the analysis of the first state, on rank 0.
    pub(super) plane: Vec<f64>,
}

impl Outcomes {
    /// Appends a state.
    pub(super) fn add(&mut self, outcome: Outcome, solved: &Solved) {
        let line = |p: &TracePoint| TraceLine {
            position: outcome.position,
            iteration: p.iteration as f64,
            j_b: p.j_b,
            j_o: p.j_o,
            gradient_norm: p.gradient_norm,
        };
        self.trace.extend(solved.minimum.trace.iter().map(line));
        self.states.push(outcome);
    }

    /// Keeps the middle plane of the first variable of the first state, for the report.
    pub(super) fn keep_plane(&mut self, extent: &Extent, position: usize, state: &[f64]) {
        if position == 0 {
            let plane = extent.plane();
            let middle = &state[extent.grid[0] / 2 * plane..][..plane];
            self.plane = middle.iter().step_by(extent.channels).copied().collect();
        }
    }

    /// Joins the states of all ranks, in order, on every rank. Collective.
    pub(super) fn gather(&mut self, world: &World) {
        let states: &[f64] = bytemuck::cast_slice(&self.states);
        let states = world.all_gather_varied(states);
        self.states = bytemuck::cast_slice(&states).to_vec();
        self.states.sort_by(|a, b| a.position.total_cmp(&b.position));
        let trace: &[f64] = bytemuck::cast_slice(&self.trace);
        let trace = world.all_gather_varied(trace);
        self.trace = bytemuck::cast_slice(&trace).to_vec();
        self.trace.sort_by(|a, b| a.position.total_cmp(&b.position).then(a.iteration.total_cmp(&b.iteration)));
    }

    /// Mean over the states.
    pub(super) fn mean(&self, value: impl Fn(&Outcome) -> f64) -> f64 {
        self.states.iter().map(value).sum::<f64>() / self.states.len() as f64
    }

    /// Median over the states without the first, which pays for cold caches (VarDACAE drops it as well).
    pub(super) fn median(&self, value: impl Fn(&Outcome) -> f64) -> f64 {
        let from = usize::from(self.states.len() > 1);
        let mut sorted: Vec<f64> = self.states[from..].iter().map(value).collect();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        0.5 * (sorted[(n - 1) / 2] + sorted[n / 2])
    }
}
