//! Section `assimilate`: 3D-Var in control space.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::Checks;
use super::data::All;

/// Section `assimilate`: every method on the same test states and observations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Assimilate {
    /// Model file of `bi-reduced`. Default: the model trained in this job.
    pub model: Option<PathBuf>,
    /// Which methods are run. Default: `tsvd` with the automatic number of modes.
    pub methods: Vec<Method>,
    /// What is observed.
    pub observations: Observations,
    /// Which numbers are meant by the published method: those of the paper or those of its code. Default: `code`.
    pub convention: Convention,
    /// Weight of the background term. Default: 1 in `paper`, 0.1 in `code`.
    pub alpha: Option<f64>,
    /// How V Vᵀ becomes the background covariance. Default: `raw` (VarDACAE).
    pub covariance: Covariance,
    /// How the cost is minimized. Default: `lbfgs` (VarDACAE).
    pub minimizer: Minimizer,
    /// `bi-reduced`: subtract the latent of the background from all latents. Default: false (VarDACAE).
    pub center_latent: bool,
    /// Gradient and adjoint test of every method at its first state; the run fails if they do. Default: true.
    pub check: bool,
    /// Relative decrease of the cost and largest gradient component at which L-BFGS stops. Default: 1e-3 (published).
    pub tolerance: f64,
    /// Most iterations of the minimizer. Default: 15000 (SciPy's L-BFGS-B).
    pub iterations_max: usize,
    /// How far a state may be from its analysis, by the Hessian of its cost. Default: not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub posterior: Option<Posterior>,
    /// Number of test states that are assimilated, from the first. Default: all.
    pub states: Option<usize>,
}

impl Default for Assimilate {
    fn default() -> Self {
        Self {
            model: None,
            methods: vec![Method::default()],
            observations: Observations::default(),
            convention: Convention::Code, // VarDACAE: default code
            alpha: None,
            covariance: Covariance::Raw,
            minimizer: Minimizer::Lbfgs,
            center_latent: false,
            check: true,
            tolerance: 1.0e-3, // VarDACAE: final evaluations
            iterations_max: 15_000,
            posterior: None,
            states: None,
        }
    }
}

/// The posterior of every state, normal around the analysis in control space: its standard deviation at every point beside the
/// analysis, `<variable>_spread`, and `<variable>_sample<i>`. It is as good as what the job says of background and
/// observations, which `bi-reduced` takes for the whole state: metrics have the mean `spread` beside `rmse`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Posterior {
    /// `bi-reduced`: draws that are decoded for the spread, which in the other methods is exact. Default: 32.
    pub draws: usize,
    /// Draws that are written. Default: 0.
    pub keep: usize,
}

impl Default for Posterior {
    fn default() -> Self {
        Self { draws: 32, keep: 0 }
    }
}

/// One way to minimize the cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Method {
    /// Which control space.
    pub name: MethodName,
    /// `tsvd`: number of singular vectors, or `auto` (count of sigma_i above sqrt(sigma_1), at least 1). Default: auto.
    pub modes: Option<Modes>,
    /// `tsvd`: which of two equal formulations. Default: `published`.
    pub form: Option<Form>,
    /// `bi-reduced`: how the latent of what is observed is found. Default: `whole`, with `observations.file` `interpolated`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub view: Option<View>,
    /// `bi-reduced`: part s of the covariance of the latent that has no correlations, B = (1 - s) V Vᵀ + s diag(V Vᵀ): where
    /// training states are fewer than latent values, what they do not span can be analyzed too (Hamill and Snyder 2000).
    /// Default: 0 (VarDACAE).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shrinkage: Option<f64>,
}

/// How the latent of what is observed is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum View {
    /// The encoder sees the whole state, whatever `observations.count` is (VarDACAE).
    Whole,
    /// The encoder sees the analysis of the full space without truncation, from the observations.
    Interpolated,
    /// The observation encoder of the model sees the observations (`train.observer`), as if they were all as good as those that it
    /// was trained on, which had no errors: `sigma` weighs several of one cell, nothing else.
    Encoded,
}

/// Which control space the cost is minimized in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MethodName {
    /// The leading singular vectors of the ensemble of deviations (Arcucci et al. 2019).
    #[default]
    Tsvd,
    /// All deviations: the control variable transform without truncation.
    Full,
    /// The latent space of a trained model; the whole state is observed.
    BiReduced,
}

/// Number of singular vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a number of modes, or `auto`")]
pub enum Modes {
    /// So many.
    Count(usize),
    /// By rule.
    Rule(ModesRule),
}

/// The word `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ModesRule {
    /// Count of singular values above the square root of the first (Arcucci), at least 1.
    Auto,
}

/// Two formulations of TSVD with the same analysis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// As published: a control vector of length S whatever the number of modes.
    Published,
    /// A control vector of as many components as modes.
    Fair,
}

/// Whose numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Convention {
    /// alpha 1, variance 0.005 squared.
    Paper,
    /// alpha 0.1, variance 0.005.
    Code,
}

/// How V Vᵀ becomes the background covariance, V the training states minus their mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Covariance {
    /// B = V Vᵀ, as in VarDACAE.
    Raw,
    /// B = V Vᵀ / (S - 1), the sample covariance of the S training states.
    Sample,
}

/// How the cost is minimized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Minimizer {
    /// L-BFGS with the stop tests of SciPy's L-BFGS-B.
    Lbfgs,
    /// Conjugate gradients until the gradient has fallen by `tolerance`.
    Cg,
    /// Cholesky of the Hessian, factored once for all states.
    ClosedForm,
}

/// How a value between grid points is observed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// The nearest grid point.
    Nearest,
    /// Linear along every axis.
    #[default]
    Trilinear,
}

/// What is observed: places drawn at random, all, or a file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Observations {
    /// How many grid points: an integer, a fraction (written with a point: 0.01), or `all`. Default: `all`.
    pub count: Option<Count>,
    /// File of place, value and sigma (CSV or NetCDF), instead of `count`.
    pub file: Option<PathBuf>,
    /// How observations of the file between grid points are compared with the state. Default: `trilinear`.
    pub interpolation: Interpolation,
    /// Seed of the places, the same for all states. Default: `job.seed`.
    pub seed: Option<u64>,
    /// Error variance of normalized observations. Default: 0.005 squared in `paper`, 0.005 in `code`.
    pub variance: Option<f64>,
}

/// How many grid points are observed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a count, a fraction (0.01), or `all`")]
pub enum Count {
    /// So many.
    Number(usize),
    /// This fraction of the grid, rounded down, at least one.
    Fraction(f64),
    /// Every grid point.
    All(All),
}

impl Assimilate {
    /// Weight of the background term.
    pub fn alpha(&self) -> f64 {
        self.alpha.unwrap_or(match self.convention {
            Convention::Paper => 1.0,
            Convention::Code => 0.1, // VarDACAE: never overridden in the experiments
        })
    }

    /// How the latent of what is observed is found for a method.
    pub fn view(&self, method: &Method) -> View {
        method.view.unwrap_or(if self.observations.file.is_some() { View::Interpolated } else { View::Whole })
    }

    /// Whether an observation encoder is used.
    pub fn encodes(&self) -> bool {
        self.methods.iter().any(|method| method.view == Some(View::Encoded))
    }

    /// Whether the Hessian is factored: for the closed form, and for the posterior.
    pub fn needs_hessian(&self) -> bool {
        self.minimizer == Minimizer::ClosedForm || self.posterior.is_some()
    }

    /// Error variance of normalized observations.
    pub fn variance(&self) -> f64 {
        self.observations.variance.unwrap_or(match self.convention {
            Convention::Paper => 0.005 * 0.005, // sigma 0.005
            Convention::Code => 0.005,          // VarDACAE: sigma used as the variance
        })
    }

    pub(super) fn check(&self, checks: &mut Checks) {
        checks.require(!self.methods.is_empty(), "assimilate.methods", || "an empty list".into());
        for (i, method) in self.methods.iter().enumerate() {
            method.check(checks, &format!("assimilate.methods[{i}]"));
        }
        self.observations.check(checks);
        for (i, _) in self.methods.iter().enumerate().filter(|(_, method)| method.view == Some(View::Whole)) {
            checks.require(self.observations.file.is_none(), &format!("assimilate.methods[{i}].view"), || {
                "`whole`: a file does not hold the whole state: `interpolated` or `encoded`".into()
            });
        }
        if let Some(alpha) = self.alpha {
            checks.positive_real(alpha, "assimilate.alpha");
        }
        checks.positive_real(self.tolerance, "assimilate.tolerance");
        checks.positive(self.iterations_max, "assimilate.iterations_max");
        if let Some(posterior) = &self.posterior {
            checks.require(posterior.draws >= 2, "assimilate.posterior.draws", || {
                format!("{}: at least 2", posterior.draws)
            });
            let latent = self.methods.iter().filter(|method| method.name == MethodName::BiReduced);
            let knows = latent.map(|method| self.view(method)).all(|view| view != View::Interpolated);
            checks.require(knows, "assimilate.posterior", || {
                "`bi-reduced` does not know its posterior where the state is interpolated: give it `view: encoded`, or leave \
                 out the method"
                    .into()
            });
            checks.require(posterior.keep <= posterior.draws, "assimilate.posterior.keep", || {
                format!("{} of {} draws", posterior.keep, posterior.draws)
            });
        }
        checks.require(self.states != Some(0), "assimilate.states", || "0: at least one state".into());
    }

    pub(super) fn resolve(&mut self, seed: u64) {
        self.alpha = Some(self.alpha());
        self.observations.variance = Some(self.variance());
        self.observations.seed.get_or_insert(seed);
        if self.observations.file.is_none() {
            self.observations.count.get_or_insert(Count::All(All::All));
        }
        for method in self.methods.iter_mut().filter(|m| m.name == MethodName::Tsvd) {
            method.modes.get_or_insert(Modes::Rule(ModesRule::Auto));
            method.form.get_or_insert(Form::Published);
        }
    }
}

impl Method {
    fn check(&self, checks: &mut Checks, at: &str) {
        let tsvd = self.name == MethodName::Tsvd;
        checks.require(tsvd || self.modes.is_none(), &format!("{at}.modes"), || "only method `tsvd` has modes".into());
        checks.require(tsvd || self.form.is_none(), &format!("{at}.form"), || "only method `tsvd` has forms".into());
        let latent = self.name == MethodName::BiReduced;
        for (key, given) in [("view", self.view.is_some()), ("shrinkage", self.shrinkage.is_some())] {
            checks.require(latent || !given, &format!("{at}.{key}"), || "an option of method `bi-reduced`".into());
        }
        let part = self.shrinkage.unwrap_or(0.0);
        checks.require((0.0..1.0).contains(&part), &format!("{at}.shrinkage"), || format!("{part}: in [0, 1)"));
        let none = self.modes == Some(Modes::Count(0));
        checks.require(!none, &format!("{at}.modes"), || "0: at least one mode, or `auto`".into());
    }
}

impl View {
    /// The word of the job file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Interpolated => "interpolated",
            Self::Encoded => "encoded",
        }
    }
}

impl MethodName {
    /// The word of the job file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tsvd => "tsvd",
            Self::Full => "full",
            Self::BiReduced => "bi-reduced",
        }
    }
}

impl Count {
    /// So many of `available` values.
    pub fn of(self, available: usize) -> usize {
        match self {
            Self::Number(n) => n,
            Self::Fraction(f) => ((f * available as f64).floor() as usize).max(1),
            Self::All(_) => available,
        }
    }

    pub(in crate::config) fn check(self, checks: &mut Checks, at: &str) {
        let ok = match self {
            Self::Number(n) => n > 0,
            Self::Fraction(f) => f > 0.0 && f <= 1.0,
            Self::All(_) => true,
        };
        checks.require(ok, at, || "a count of at least 1, a fraction in (0, 1], or `all`".into());
    }
}

impl Observations {
    fn check(&self, checks: &mut Checks) {
        let at = "assimilate.observations";
        checks.require(self.count.is_none() || self.file.is_none(), &format!("{at}.count"), || {
            "`count` and `file` are both given: keep one".into()
        });
        self.count.iter().for_each(|count| count.check(checks, &format!("{at}.count")));
        if let Some(variance) = self.variance {
            checks.positive_real(variance, &format!("{at}.variance"));
        }
    }
}
