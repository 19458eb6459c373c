//! Rate and distortion around the bound of a job: what another bound would cost, measured on a sample.

use rayon::prelude::*;

use crate::archive::{Box4, Source, Variable};
use crate::codec::CodecError;
use crate::report::Figure;
use crate::report::figure::{Lines, Series};
use crate::report::metrics::Quality;
use crate::world::World;

use super::coding::{Plan, Tile, VariablePlan, Way};
use super::{Context, JobError, groups};

/// Multiples of the bound that are tried.
const FACTORS: [f64; 6] = [8.0, 4.0, 2.0, 1.0, 0.5, 0.25];
/// Values of a variable in the sample: at most a part of what the archive has of it, and not too few to tell.
const SAMPLE_VALUES: usize = 1 << 20;
const SAMPLE_PART: usize = 16;
const SAMPLE_VALUES_MIN: usize = 1 << 16;
/// What is told of one coded sample: bits per value and PSNR.
const NUMBERS: usize = 2;

/// Codes the first steps of the tile `region` of a group under multiples of its bound, which the ranks of `world`
/// share, and keeps a figure per variable; `reached`: what its archive reached. Collective.
pub(super) fn figures(
    (ctx, world): (&Context, &World),
    (source, plan): (&Source, &Plan),
    region: &Box4,
    reached: &[(&Variable, Quality, f64)],
) -> Result<(), JobError> {
    // 1. The sample.
    let mut sample = *region;
    let step = region.len[1..].iter().product::<usize>().max(1);
    let most = reached.iter().map(|(_, quality, _)| quality.n as usize / SAMPLE_PART).max().unwrap_or(0);
    sample.len[0] = region.len[0].min((most.clamp(SAMPLE_VALUES_MIN, SAMPLE_VALUES) / step).max(1));
    // 2. This rank's multiples; sums with zero join them.
    let row = reached.len() * Way::ALL.len() * NUMBERS;
    let mut table = vec![0.0; FACTORS.len() * row];
    let tile = if world.rank() < FACTORS.len() { Some(Tile::read(source, plan, &sample)?) } else { None };
    let owned = FACTORS.into_iter().enumerate().filter(|(i, _)| i % world.size() == world.rank());
    let plans: Vec<(usize, Plan)> = owned.filter_map(|(i, factor)| Some((i, plan.scaled(factor)?))).collect();
    let plans: Vec<(usize, &[VariablePlan])> = plans.iter().map(|(i, plan)| (*i, &plan.variables[..])).collect();
    let code = |&(i, variables): &(usize, &[VariablePlan])| Some((i, tile.as_ref()?.code(variables)));
    let coded: Vec<_> = plans.par_iter().filter_map(code).collect();
    for (i, coded) in coded {
        let coded = match coded {
            // So few bits are no rate for it.
            Err(JobError::Uncodable { source: CodecError::RateNotReachable { .. }, .. }) => continue,
            coded => coded?,
        };
        let numbers = &mut table[i * row..(i + 1) * row];
        for (slot, (v, way)) in numbers.chunks_mut(NUMBERS).zip(ways(reached.len())) {
            let span = reached[v].1.max - reached[v].1.min;
            // Squares of huge values overflow, and an exact sample has no PSNR.
            let point = |(bytes, q): (f64, Quality)| [8.0 * bytes / q.n as f64, -20.0 * (q.rmse() / span).log10()];
            if let Some(point) = coded.cost(v, way).map(point).filter(|p| p.iter().all(|x| x.is_finite())) {
                slot.copy_from_slice(&point);
            }
        }
    }
    world.sum(&mut table);
    // 3. Curves, and where the archive is.
    for (v, (variable, quality, bits)) in reached.iter().enumerate() {
        let curve = |way: Way| {
            let at = ways(reached.len()).position(|found| found == (v, way)).expect("every way is in the list");
            let point = |i: usize| (table[i * row + at * NUMBERS], table[i * row + at * NUMBERS + 1]);
            let points = (0..FACTORS.len()).map(point).filter(|(bits, _)| *bits > 0.0).collect();
            Series { name: format!("{}, sample", way.name()), points, markers: false }
        };
        let mut series: Vec<Series> = Way::ALL.map(curve).into_iter().filter(|s| !s.points.is_empty()).collect();
        if series.is_empty() {
            continue;
        }
        if let Some(psnr) = quality.psnr_db().filter(|psnr| psnr.is_finite()) {
            series.push(Series { name: "whole archive".into(), points: vec![(*bits, psnr)], markers: true });
        }
        let name = groups::file_name(&ctx.config.data, source, &variable.name)?;
        ctx.report.figure(&format!("31-rate-{name}"), &Figure::Lines(lines(variable, &sample, series)))?;
    }
    Ok(())
}

/// The numbers of a row: every variable, every way.
fn ways(variables: usize) -> impl Iterator<Item = (usize, Way)> {
    (0..variables).flat_map(|v| Way::ALL.map(|way| (v, way)))
}

fn lines(variable: &Variable, sample: &Box4, series: Vec<Series>) -> Lines {
    let steps = sample.len[0];
    Lines {
        title: format!("Rate and distortion of {}", variable.name),
        caption: format!(
            "Bits against quality for {} to {} times the bound of the job, on {steps} steps from the middle of the first \
             file; latents are counted, the decoder is not. The dot is the whole archive at the bound of the job.",
            FACTORS[FACTORS.len() - 1],
            FACTORS[0]
        ),
        x_label: "bits per value".into(),
        y_label: "PSNR, dB".into(),
        x_log: true,
        series,
        ..Lines::default()
    }
}
