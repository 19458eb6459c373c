//! The fewest bytes that keep the energy of every wavenumber. Encoder only.
//!
//! A quantizer takes energy from waves that are not much higher than its step, long before these are lost. So the transform
//! makes such waves a little higher before it quantizes them, by as much as is missing when they come back (its `gains`, a few
//! rounds): the spectrum then allows a step several times as wide. That waves have their energy does not mean that they are
//! the waves of the field: the energy of the error stays below [`NOISE`] of theirs.

use super::bound::{Bound, Limits};
use super::contest::{Choice, Coder};
use super::draft::{Draft, Subject};
use super::field::Cell;
use super::lattice::Work;
use super::sample::Sample;
use super::scaled::Scaled;
use crate::report::physics::{Pair, Spectrum};

/// Energy of the error over that of the field, at most, at every wavenumber.
const NOISE: f64 = 0.25;
/// Steps that are tried, with gains until so many have not led there; and rounds of gains for each.
const STEPS: usize = 12;
const RAISED: usize = 4;
const ROUNDS: usize = 4;
/// This near to a limit is near enough, as a root of energies.
const REACHED: f64 = 0.9;
/// Gains at most.
const GAIN_MAX: f64 = 2.0;
/// Where gains do not reach a limit, so much less of a step at least.
const STRAINED: f64 = 1.2;

impl<T: Sample> Subject<'_, T> {
    /// The shortest draft within the limits on spectrum and root mean square; half a step is at most `most`. `target`: the
    /// root mean square with which they are likely to be kept without gains.
    pub fn keep_waves<W: Work>(
        &self,
        scaled: &mut Scaled<T, W>,
        mut choice: Choice,
        (target, most): (f64, f64),
    ) -> Option<Draft<T>> {
        let Bound::Within(Limits { spectrum: Some(part), rmse, .. }) = self.bound else { return None };
        let mut raises = matches!(choice.coder, Coder::Linear(_)) && most.is_infinite();
        let mut gains: Vec<f64> = Vec::new();
        let mut best: Option<Draft<T>> = None;
        choice.bound = scaled.bound_for(choice, target).min(most);
        for tried in 0..STEPS {
            if raises && tried == RAISED && best.is_none() {
                // Single waves among nothing: a block has no gain for them.
                (raises, gains) = (false, Vec::new());
            }
            let mut strain = f64::INFINITY;
            for _ in 0..ROUNDS {
                let draft = scaled.draft(choice, &gains);
                let back = draft.back();
                let spectra = self.spectra(&back);
                let [error, noise] = worst(&spectra);
                strain = rmse.map_or(0.0, |limit| self.rmse(|p, _| back[p]) / limit).max((noise / NOISE).sqrt());
                let kept = error <= part;
                if kept && strain <= 1.0 && best.as_ref().is_none_or(|b| draft.size() < b.size()) {
                    best = Some(draft.settled());
                }
                if kept || !raises {
                    strain = if raises { strain } else { strain.max((error / part).sqrt()) };
                    break;
                }
                strain = strain.max(STRAINED).max((error / part).powf(0.25));
                raise(&mut gains, &spectra);
            }
            if (REACHED..=1.0).contains(&strain) || strain <= 1.0 && choice.bound >= most || strain == 0.0 {
                break;
            }
            let before = choice.bound;
            choice.bound = (before * (0.5 * (1.0 + REACHED) / strain).clamp(0.25, 4.0)).min(most);
        }
        best
    }

    /// Root mean square of a white error that changes the spectrum of no step by more than this part. `None` if there is
    /// nothing to change.
    pub fn rmse_of_spectrum(&self, part: f64) -> Option<f64> {
        let of_step = |spectrum: &Spectrum| {
            let energy = |(k, shell): (usize, &[f64; 3])| part * shell[0] / spectrum.modes[k];
            spectrum.resolved().map(energy).reduce(f64::min)
        };
        self.spectra(self.values).iter().filter_map(of_step).reduce(f64::min).map(f64::sqrt)
    }

    /// How far a draft is from its limits on means: 1 is just there.
    pub fn strain(&self, draft: &Draft<T>) -> f64 {
        let Bound::Within(limits) = self.bound else { return 0.0 };
        let back = draft.back();
        let rmse = limits.rmse.map_or(0.0, |limit| self.rmse(|p, _| back[p]) / limit);
        limits.spectrum.map_or(0.0, |part| self.strain_of_waves(&back, part)).max(rmse)
    }

    /// The same of the spectrum alone.
    pub fn strain_of_waves(&self, back: &[T], part: f64) -> f64 {
        let [error, noise] = worst(&self.spectra(back));
        (error / part).max(noise / NOISE).sqrt()
    }

    /// Energy by wavenumber of every step with values, and of what comes back of it.
    fn spectra(&self, back: &[T]) -> Vec<Spectrum> {
        let shape = [self.shape[1], self.shape[2], self.shape[3]];
        let step = shape.iter().product::<usize>();
        let of_step = |first: usize| {
            let numbers = |values: &[T]| values[first..first + step].iter().map(|v| v.number()).collect();
            let valid = self.cells.map(|cells| cells[first..first + step].iter().map(|c| *c != Cell::Filled).collect());
            Some(Spectrum::of(&Pair::new(shape, [numbers(self.values), numbers(back)], valid)?))
        };
        (0..self.values.len()).step_by(step).filter_map(of_step).collect()
    }
}

/// The largest change of energy, and the largest energy of the error, of any step and wavenumber; of a step whose squares
/// overflow nothing is known.
fn worst(spectra: &[Spectrum]) -> [f64; 2] {
    let of_step = |spectrum: &Spectrum| match spectrum.shells.is_empty() {
        true => [f64::INFINITY; 2],
        false => [spectrum.error(), spectrum.noise()].map(Option::unwrap_or_default),
    };
    spectra.iter().map(of_step).fold([0.0; 2], |a, b| [a[0].max(b[0]), a[1].max(b[1])])
}

/// Gains that make up for what is missing, in the mean over the steps.
fn raise(gains: &mut Vec<f64>, spectra: &[Spectrum]) {
    let all: Vec<Vec<f64>> = spectra.iter().map(Spectrum::gains).collect();
    gains.resize(all.iter().map(Vec::len).max().unwrap_or(0), 1.0);
    for (k, gain) in gains.iter_mut().enumerate() {
        let mean = all.iter().filter_map(|new| new.get(k)).sum::<f64>() / all.len() as f64;
        *gain = (*gain * mean).clamp(1.0 / GAIN_MAX, GAIN_MAX);
    }
}
