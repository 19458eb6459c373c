//! How the variables of a group are coded: what the job file promises of them, in the unit of the stored numbers.

use std::collections::BTreeMap;

use crate::archive::{Stored, Variable};
use crate::codec::{self, Bound, Limits, TileSpec};
use crate::config::{self, Compress, ErrorBound};

use super::super::measure::Measured;
use super::super::prediction::Predictor;
use super::{RECORD_BYTES, region, short};

/// How the tiles of a group are coded.
pub(in super::super) struct Plan<'a> {
    /// The variables in the order of the group.
    pub variables: Vec<VariablePlan<'a>>,
    /// The learned predictor, if it can see the grid.
    pub model: Option<&'a Predictor>,
    /// Whether nothing but the learned prediction is allowed.
    pub learned_only: bool,
    /// Parts of the grid with bounds of their own.
    pub(super) regions: &'a [config::Region],
}

/// How one variable is coded.
#[derive(Clone)]
pub(in super::super) struct VariablePlan<'a> {
    pub(super) variable: &'a Variable,
    predictor: config::Predictor,
    pub(super) may_learn: bool,
    /// In the unit of the stored numbers.
    bound: Bound,
    /// The same of the regions that are for it, and their largest error allowed, physical units; by their numbers.
    regions: BTreeMap<usize, (Bound, f64)>,
    /// Bit patterns of fill and missing values.
    fills: Vec<u64>,
    /// The largest error that is allowed anywhere, physical units; infinite without a bound.
    pub bound_abs: f64,
    /// max - min in the file, physical units.
    pub span: f64,
    /// Which bounds hold: `abs`, `rel`, ..., joined by `+`; or `none`.
    pub mode: String,
}

impl<'a> Plan<'a> {
    /// What the job file says about these variables.
    pub fn new(
        section: &'a Compress,
        variables: &[&'a Variable],
        measured: &[Measured],
        model: Option<&'a Predictor>,
    ) -> Self {
        let plan = |(&variable, measured): (&&'a Variable, &Measured)| {
            let bound = section.error_bound_of(&variable.name);
            let limits = limits_of(&bound, variable, measured);
            let of_region = |(number, region): (usize, &config::Region)| {
                let limits = limits_of(&region.error_bound, variable, measured);
                (number, (limits.bound(), largest_error(&limits, variable, measured)))
            };
            VariablePlan {
                variable,
                predictor: section.predictor_of(&variable.name),
                may_learn: section.may_learn(&variable.name),
                bound: limits.bound(),
                regions: region::of(section, &variable.name).map(of_region).collect(),
                fills: variable.fill_patterns(),
                bound_abs: largest_error(&limits, variable, measured),
                span: measured.span(),
                mode: mode_of(&bound),
            }
        };
        let variables: Vec<VariablePlan> = variables.iter().zip(measured).map(plan).collect();
        let learned_only = variables.iter().all(VariablePlan::learned_only);
        let model = model.filter(|_| variables.iter().any(|v| v.may_learn));
        Self { variables, model, learned_only, regions: &section.regions }
    }

    /// Equal for plans that code the same numbers to the same streams, and in practice for no others.
    pub fn digest(&self) -> u64 {
        let mut hasher = blake3::Hasher::new();
        for v in &self.variables {
            let how = (v.predictor, v.may_learn, v.bound, &v.regions, &v.fills, v.variable.valid_range);
            hasher.update(format!("{how:?}").as_bytes());
        }
        hasher.update(format!("{:?}", self.regions).as_bytes());
        let decoder = self.model.map_or_else(Vec::new, |model| model.to_parts(""));
        decoder.iter().for_each(|(_, part)| _ = hasher.update(part));
        short(hasher.finalize())
    }

    /// The regions that hold for any of its variables, with their numbers.
    pub(super) fn regions(&self) -> impl Iterator<Item = (usize, &config::Region)> {
        let held = |number: usize| self.variables.iter().any(|v| v.regions.contains_key(&number));
        self.regions.iter().enumerate().filter(move |(number, _)| held(*number))
    }

    /// The same plan for tiles that are known to need no prediction.
    pub fn without_model(&self) -> Self {
        Self { variables: self.variables.clone(), model: None, learned_only: false, regions: self.regions }
    }

    /// The same plan with `factor` times the bound of every variable; `None` where that is no bound of its kind.
    pub fn scaled(&self, factor: f64) -> Option<Self> {
        let times = |limit: Option<f64>| limit.map(|x| x * factor);
        let scaled = |bound: Bound| {
            let Bound::Within(limits) = bound else { return None };
            let limits = Limits {
                abs: times(limits.abs),
                pw_rel: times(limits.pw_rel),
                rmse: times(limits.rmse),
                spectrum: times(limits.spectrum),
                decades: times(limits.decades),
                rings: times(limits.rings),
                rate: limits.rate.map(|rate| rate / factor),
            };
            limits.pw_rel.is_none_or(|f| f < 1.0).then(|| limits.bound())
        };
        let scale = |v: &VariablePlan<'a>| {
            // A region that promises to be exact stays so.
            let regions = v.regions.iter().map(|(&i, &(bound, abs))| (i, (scaled(bound).unwrap_or(bound), abs)));
            Some(VariablePlan { bound: scaled(v.bound)?, regions: regions.collect(), ..v.clone() })
        };
        let variables = self.variables.iter().map(scale).collect::<Option<_>>()?;
        Some(Self { variables, ..*self })
    }
}

impl VariablePlan<'_> {
    pub(super) fn learned_only(&self) -> bool {
        self.predictor == config::Predictor::Learned || self.bound == Bound::Unbounded
    }

    pub(super) fn classical(&self) -> codec::Predictor {
        match self.predictor {
            config::Predictor::Interpolation => codec::Predictor::Interpolation,
            config::Predictor::Lorenzo => codec::Predictor::Lorenzo,
            config::Predictor::Linear => codec::Predictor::Linear,
            config::Predictor::Auto | config::Predictor::Learned => codec::Predictor::Auto,
        }
    }

    /// What a tile of it promises that touches regions.
    pub(super) fn spec<'s>(&'s self, stored: &'s Stored, touched: u64) -> TileSpec<'s> {
        let touches = |number: usize| touched >> number & 1 == 1;
        let regions = self.regions.iter().filter(|(number, _)| touches(**number)).map(|(_, (bound, _))| *bound);
        let bound = regions.fold(self.bound, Bound::and);
        let (valid_range, beside, masked) =
            (self.variable.valid_range, RECORD_BYTES as usize, stored.masked.as_deref());
        TileSpec { fills: &self.fills, valid_range, beside, masked, ..TileSpec::new(stored.shape, bound) }
    }

    /// The largest error that regions allow, physical units, by their numbers.
    pub fn regions(&self) -> impl Iterator<Item = (usize, f64)> {
        self.regions.iter().map(|(number, (_, abs))| (*number, *abs))
    }

    /// What one step of the stored numbers is in physical units.
    pub(super) fn unit(&self) -> f64 {
        self.variable.packing.map_or(1.0, |p| p.scale.abs())
    }
}

/// The limits of the job file in the unit of the stored numbers.
fn limits_of(bound: &ErrorBound, variable: &Variable, measured: &Measured) -> Limits {
    if let Some(rate) = bound.bits_per_value(variable.element.size()) {
        return Limits { rate: Some(rate), ..Limits::default() };
    }
    let psnr = bound.psnr.into_iter().chain(bound.nrmse.map(|nrmse| -20.0 * nrmse.log10())).reduce(f64::max);
    let Some(packing) = variable.packing else {
        let limits = Limits::resolve(bound.abs, bound.rel, (bound.pw_rel, psnr), measured.span());
        return Limits { decades: bound.decades, spectrum: bound.spectrum, rings: bound.iq_sigma, ..limits };
    };
    // Rounding in x = scale n + offset must not push a value over the edge.
    const INSIDE: f64 = 1.0 - 1.0e-12;
    let scale = packing.scale.abs().max(f64::MIN_POSITIVE);
    // With an offset |x| is no multiple of |n|: the smallest |x| decides for all.
    // Fewer decades are a smaller fraction: 1 - 10^-d of |x| to either side.
    let fraction = bound.decades.map(|d| 1.0 - 10f64.powf(-d)).into_iter().chain(bound.pw_rel).reduce(f64::min);
    let pointwise = fraction.filter(|_| packing.offset != 0.0).map(|f| f * measured.least.unwrap_or(0.0));
    let abs = bound.abs.into_iter().chain(pointwise).reduce(f64::min).map(|x| INSIDE * x / scale);
    let pw_rel = fraction.filter(|_| packing.offset == 0.0).map(|f| INSIDE * f);
    let limits = Limits::resolve(abs, bound.rel.map(|rel| INSIDE * rel), (pw_rel, psnr), measured.span() / scale);
    // Counts are not packed: a bound on their noise is refused by the codec where steps are no counts.
    Limits { spectrum: bound.spectrum, rings: bound.iq_sigma, ..limits }
}

fn largest_error(limits: &Limits, variable: &Variable, measured: &Measured) -> f64 {
    let unit = variable.packing.map_or(1.0, |p| p.scale.abs());
    let largest = measured.range.map_or(0.0, |(low, high)| low.abs().max(high.abs()));
    let decades = limits.decades.map(|d| (10f64.powf(d) - 1.0) * largest);
    let parts = [limits.abs.map(|x| x * unit), limits.pw_rel.map(|f| f * largest), decades];
    parts.into_iter().flatten().reduce(f64::min).unwrap_or(f64::INFINITY)
}

fn mode_of(bound: &ErrorBound) -> String {
    let parts = bound.parts();
    let named: Vec<&str> = parts.iter().filter(|(_, value)| value.is_some()).map(|(name, _)| *name).collect();
    if named.is_empty() { "none".into() } else { named.join("+") }
}
