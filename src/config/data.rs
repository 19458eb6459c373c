//! Section `data`: which values, cut into which samples.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::Checks;
use super::raw::Raw;

/// Section `data`: the inputs and how they become samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Data {
    /// Files or glob patterns (HDF5, NetCDF-3/4, IDX, raw arrays), relative to the working folder; sorted by name.
    /// Default: the files that `generate` of this job makes.
    pub inputs: Vec<String>,
    /// All inputs are raw arrays: bare numbers that lie as is said here. Default: none is.
    pub raw: Option<Raw>,
    /// What becomes of an input that cannot be opened, or that crashes the library that opens it, and of an archive of
    /// `decompress.archives` that is damaged. Default: `error`.
    pub on_bad_file: OnBadFile,
    /// Time that opening one file may take before it counts as malformed, s; files on tape need more. Default: 60.
    pub open_limit_s: f64,
    /// `all` (every field of floating or integer numbers that is not a coordinate), `images` (those on (n, y, x)), or a
    /// list of names. Default: `all`.
    pub variables: Variables,
    /// Variables coded by one model, each list the channels of one. Default: every variable on its own.
    pub groups: Vec<Vec<String>>,
    /// What one sample is.
    pub sample: Sample,
    /// Which samples train, which check.
    pub split: Split,
    /// Over what mean and standard deviation are taken, from the training part only. Default: `voxel` (VarDACAE), with
    /// `sample.cells` `global`.
    pub normalize: Option<Normalize>,
    /// What a model sees of a value, before mean and standard deviation; undone where it predicts. Default: `none`.
    pub scale: Scale,
    /// Changes made to training samples.
    pub augment: Augment,
}

/// What becomes of a file that cannot be opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnBadFile {
    /// Nothing is started, exit code 3.
    #[default]
    Error,
    /// It is left out and named with the reason, the job is done for the others and ends with exit code 3.
    Skip,
}

/// Which variables of the inputs are used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected `all`, `images` or a list of variable names")]
pub enum Variables {
    /// The word `all`.
    All(All),
    /// The word `images`.
    Images(Images),
    /// Variable names.
    List(Vec<String>),
}

/// The word `all`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum All {
    /// Everything there is.
    All,
}

/// The word `images`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Images {
    /// One image for each step: (n, y, x).
    Images,
}

impl Default for Variables {
    fn default() -> Self {
        Self::All(All::All)
    }
}

impl Variables {
    /// Whether the variable `name` is asked for.
    pub fn contains(&self, name: &str) -> bool {
        match self {
            Self::All(_) | Self::Images(_) => true,
            Self::List(names) => names.iter().any(|n| n == name),
        }
    }
}

/// What one sample is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sample {
    /// Dimension whose steps are the samples: its name, or its index from 0 in files without names. Default: the time
    /// or unlimited dimension, else the first if nothing says that it is z, y or x.
    pub axis: Option<Axis>,
    /// Cells along z, y, x of the boxes that a model predicts one at a time, each a sample: for fields too large for one
    /// network, and for models that serve any grid. Default: none, a sample is a whole step.
    pub cells: Option<[usize; 3]>,
    /// Cells around a box, on each side along z, y, x, that the model sees too; at an edge of the field the box that is
    /// seen is moved inwards. Default: an eighth of `cells`, rounded up.
    pub halo: Option<[usize; 3]>,
}

impl Sample {
    /// Cells and halo of a box; `None` where a sample is a whole step.
    pub fn window(&self) -> Option<[[usize; 3]; 2]> {
        let cells = self.cells?;
        Some([cells, self.halo.unwrap_or_else(|| cells.map(|n| n.div_ceil(8)))])
    }
}

/// A dimension, by name or by index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected the name of a dimension, or its index from 0")]
pub enum Axis {
    /// Index from 0, slowest first.
    Index(usize),
    /// Name in the file.
    Name(String),
}

impl std::fmt::Display for Axis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Index(index) => index.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// Which samples train, which check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Split {
    /// Fraction of the samples that train: the first floor(train x S) in `order`. Default: 0.8 (VarDACAE).
    pub train: f64,
    /// Fraction used for validation; what is left tests. Default: none, the rest serves as validation and test both.
    pub valid: Option<f64>,
    /// Order in which samples are dealt out. Default: `time`.
    pub order: Order,
}

impl Default for Split {
    fn default() -> Self {
        // Seed-spec A.1: hist_idx = int(0.8 T), in time order.
        Self { train: 0.8, valid: None, order: Order::Time }
    }
}

/// Order in which samples are dealt out to the parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// As they stand: the past trains, the future checks.
    Time,
    /// Shuffled by the seed of the job.
    Random,
}

/// Over what mean and standard deviation are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Normalize {
    /// One mean and standard deviation per grid point, over the training samples.
    Voxel,
    /// One mean and standard deviation per variable.
    Global,
}

/// What a model sees of a value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    /// The value.
    #[default]
    None,
    /// 2 sqrt(x + 3/8), for counts: their noise becomes 1 (Anscombe 1948). Numbers below 0 count as 0.
    Anscombe,
    /// ln(1 + x), for intensities over many decades. Numbers below 0 count as 0.
    Log,
}

/// Changes made to training samples.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// Field jitter x + a N(0, 1) Bernoulli(r) on normalized values, strength 0 to 3: none, (a 0.005, r 0.5),
    /// (0.05, 0.25), (0.1, 0.5) (VarDACAE). Default: 0.
    pub jitter: u8,
}

impl Default for Data {
    fn default() -> Self {
        Self {
            inputs: Vec::new(),
            raw: None,
            on_bad_file: OnBadFile::Error,
            open_limit_s: 60.0, // a parallel file system under load answers within seconds
            variables: Variables::default(),
            groups: Vec::new(),
            sample: Sample::default(),
            split: Split::default(),
            normalize: None,
            scale: Scale::None,
            augment: Augment::default(),
        }
    }
}

impl Data {
    pub(super) fn check(&self, checks: &mut Checks) {
        checks.require(self.inputs.iter().all(|p| !p.is_empty()), "data.inputs", || "an empty file name".into());
        checks.positive_real(self.open_limit_s, "data.open_limit_s");
        let longest = 1.0e9; // 30 years: for ever, and within what clocks take
        checks.require(self.open_limit_s <= longest, "data.open_limit_s", || format!("above {longest} s"));
        self.raw.iter().for_each(|raw| raw.check(checks));
        if let Variables::List(names) = &self.variables {
            checks.require(!names.is_empty(), "data.variables", || "an empty list: name one, or say `all`".into());
            checks.distinct(names.iter(), "data.variables");
        }
        checks.distinct(self.groups.iter().flatten(), "data.groups");
        for (i, group) in self.groups.iter().enumerate() {
            let at = format!("data.groups[{i}]");
            checks.require(!group.is_empty(), &at, || "an empty group".into());
            for name in group {
                checks.require(self.variables.contains(name), &at, || format!("`{name}` is not in data.variables"));
            }
        }
        self.sample.check(checks);
        let voxel = self.normalize == Some(Normalize::Voxel) && self.sample.cells.is_some();
        checks.require(!voxel, "data.normalize", || {
            "`voxel` needs samples that are whole steps: with data.sample.cells it is `global`".into()
        });
        self.split.check(checks);
        checks.require(self.augment.jitter <= 3, "data.augment.jitter", || {
            format!("{}: strength 0 (none) to 3", self.augment.jitter)
        });
    }
}

impl Data {
    /// `normalize`, or what it is by default.
    pub fn normalize(&self) -> Normalize {
        let default = if self.sample.cells.is_some() { Normalize::Global } else { Normalize::Voxel };
        self.normalize.unwrap_or(default)
    }

    pub(super) fn resolve(&mut self) {
        self.normalize = Some(self.normalize());
        self.sample.halo = self.sample.window().map(|[_, halo]| halo);
    }
}

impl Sample {
    fn check(&self, checks: &mut Checks) {
        let positive = self.cells.is_none_or(|cells| cells.iter().all(|&n| n > 0));
        checks.require(positive, "data.sample.cells", || "0: at least 1 along each axis".into());
        checks.require(self.cells.is_some() || self.halo.is_none(), "data.sample.halo", || {
            "around what? Add data.sample.cells, the extents of a box".into()
        });
    }
}

impl Split {
    fn check(&self, checks: &mut Checks) {
        checks.require(self.train > 0.0 && self.train <= 1.0, "data.split.train", || {
            format!("{}: a fraction above 0, at most 1", self.train)
        });
        if let Some(valid) = self.valid {
            checks.require(valid >= 0.0 && self.train + valid <= 1.0, "data.split.valid", || {
                format!("{valid}: with data.split.train {} it must not pass 1", self.train)
            });
        }
    }
}
