//! How a job ends: one error type over all folders, and the exit code of each class.

use std::path::PathBuf;

use crate::archive::ArchiveError;
use crate::assimilate::AssimilateError;
use crate::backend::gpu::GpuError;
use crate::codec::CodecError;
use crate::config::{ConfigError, Stage};
use crate::dataset::DatasetError;
use crate::model::ModelError;
use crate::report::ReportError;
use crate::train::TrainError;

use super::class::{Class, of_archive, of_assimilate, of_codec, of_dataset};

/// Why a job did not finish. Folder errors join here; [`JobError::class`] gives each its exit code.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The job file or an argument.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An input could not be read, or a file not written.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// Samples could not be made.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// A model could not be made, read or written.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A model could not be fitted.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A stream could not be made or read.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// Variables that only a model can code, without one.
    #[error(
        "{path}: {group} is to be coded by its learned prediction alone (compress.predictor is `learned`, or there is no \
         error bound), but there is no model of it on its whole grid: train one in this job, name one in compress.model, \
         or give a bound and another predictor"
    )]
    NothingLearned {
        /// The input.
        path: PathBuf,
        /// The group.
        group: String,
    },
    /// Values that span more than a 64-bit number holds.
    #[error(
        "{path}: `{variable}` reaches from {:e} to {:e}, more than a number spans, so a fraction of its range is no \
         bound: give compress.variables.{variable}.error_bound {{abs: ...}}, or check its scale_factor and fill value",
        range.0, range.1
    )]
    InfiniteRange {
        /// The input.
        path: PathBuf,
        /// The variable.
        variable: String,
        /// Its smallest and largest value.
        range: (f64, f64),
    },
    /// A tile could not be coded.
    #[error("{path}, variable `{variable}`, {region}: {source}")]
    Uncodable {
        /// The input.
        path: PathBuf,
        /// The variable.
        variable: String,
        /// Which steps and cells.
        region: String,
        /// What cannot be kept.
        source: CodecError,
    },
    /// An archive could not be decoded.
    #[error("{path}, variable `{variable}`: {source}")]
    Undecodable {
        /// The archive.
        path: PathBuf,
        /// The variable.
        variable: String,
        /// Which stream, and what is wrong with it.
        source: CodecError,
    },
    /// Tiles of an archive that cannot be decoded.
    #[error(
        "{path}: {} of {all} tiles are damaged; copy the file again from where it was made, or take the others (sci-hpc \
         extract {path} -v NAME -t A:B -o part.nc):\n  {}", damaged.len(), damaged.join("\n  ")
    )]
    DamagedTiles {
        /// The archive.
        path: PathBuf,
        /// Tiles of all variables.
        all: usize,
        /// Variable, steps and stream of those that are damaged.
        damaged: Vec<String>,
    },
    /// Tiles that were left out of an extract.
    #[error(
        "{output} is there, but {} tiles of {path} are damaged and hold the fill value:\n  {}", damaged.len(),
        damaged.join("\n  ")
    )]
    Salvaged {
        /// The archive.
        path: PathBuf,
        /// What was written.
        output: PathBuf,
        /// Variable, place and stream of those that are damaged.
        damaged: Vec<String>,
    },
    /// Metrics, events or figures could not be written.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// What rank 0 found before anything was started, the same on every rank.
    #[error("{message}")]
    Refused {
        /// Its class on rank 0.
        class: Class,
        /// Its message on rank 0.
        message: String,
    },
    /// A background, its observations or a minimizer.
    #[error(transparent)]
    Assimilate(#[from] AssimilateError),
    /// The same, and of which variables.
    #[error("assimilate {group}: {source}")]
    AssimilateGroup {
        /// Name of the group of variables.
        group: String,
        /// What went wrong.
        source: AssimilateError,
    },
    /// A variable of which the samples hold nothing.
    #[error(
        "{file}{}: `{variable}` has no value in any training sample: every cell is missing or not finite; leave it out \
         of data.variables, or check its fill values", and_others(*others)
    )]
    NoValues {
        /// The variable.
        variable: String,
        /// The first input.
        file: PathBuf,
        /// How many more there are.
        others: usize,
    },
    /// All samples train.
    #[error(
        "no test states: {train} of {samples} samples train; lower data.split.train, or give more samples \
         (assimilate and evaluate take what neither trains nor validates)"
    )]
    NoTestStates {
        /// Samples of the inputs.
        samples: usize,
        /// Samples that train.
        train: usize,
    },
    /// Fewer than two training states.
    #[error("{train} of {samples} samples train: the background covariance needs two at least; raise data.split.train")]
    NoEnsemble {
        /// Samples of the inputs.
        samples: usize,
        /// Samples that train.
        train: usize,
    },
    /// A model file that is not there.
    #[error("no model {path}: train one in this job, or name one in {key}")]
    NoModel {
        /// The file looked for.
        path: PathBuf,
        /// The key that may name one.
        key: &'static str,
    },
    /// Labels or models that do not belong to the samples.
    #[error("{path}: {reason}")]
    Labels {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A model of other variables.
    #[error("{path} is a model of {found}, but {expected} is to be assimilated: name its variables in data.variables")]
    OtherModel {
        /// The model file.
        path: PathBuf,
        /// Variables of the data.
        expected: String,
        /// Variables of the model.
        found: String,
    },
    /// A model given for compression that no input fits.
    #[error(
        "compress.model: {model} predicts {} on the grid (z, y, x) = {grid:?}, but {found}; give a model of these data, or \
         none for the classical predictors; trained with data.normalize: global, or on boxes (data.sample.cells), a model \
         serves all larger grids", variables.join(", ")
    )]
    ModelUnfit {
        /// The model file.
        model: PathBuf,
        /// What it was trained on.
        variables: Vec<String>,
        /// Grid of a sample.
        grid: [usize; 3],
        /// What the inputs have instead.
        found: String,
    },
    /// A pattern of the job file that no file matches.
    #[error("{key}: no file matches `{pattern}`; patterns are relative to {folder}")]
    NoInput {
        /// Key of the job file.
        key: &'static str,
        /// File name or glob pattern.
        pattern: String,
        /// The working folder.
        folder: PathBuf,
    },
    /// A glob pattern that is not one.
    #[error("{key}: `{pattern}` is not a pattern: {reason}")]
    BadPattern {
        /// Key of the job file.
        key: &'static str,
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        reason: glob::PatternError,
    },
    /// `data.groups` names what the files do not have.
    #[error("data.groups: the inputs have no variable `{variable}`; they have {}", available.join(", "))]
    GroupUnknown {
        /// The name.
        variable: String,
        /// The variables that can be coded.
        available: Vec<String>,
    },
    /// An input that a first look refuses.
    #[error("{reason}{}", and_others(*others))]
    BadInput {
        /// The file, and what is wrong with it.
        reason: String,
        /// How many more there are.
        others: usize,
    },
    /// Everything was done, but not for every input.
    #[error(
        "the job is done for {done} inputs; {files} could not be read and were left out (data.on_bad_file: skip): the table \
         above, events.jsonl and metrics.json say which and why"
    )]
    LeftOut {
        /// Inputs left out.
        files: usize,
        /// Inputs worked on.
        done: usize,
    },
    /// The process that opens the inputs first does not start.
    #[error("cannot start a second process of this program to open the inputs in: {source}")]
    NoProbe {
        /// What the system said.
        source: std::io::Error,
    },
    /// A file that is there but cannot be opened.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// `device: cuda` where there is none.
    #[error("no usable GPU: job.device is `cuda`, but {0}; use device: cpu, or auto")]
    NoDevice(#[from] GpuError),
    /// A file or folder of the output could not be made.
    #[error("cannot write {path}: {source}; check space and permissions, or choose another job.output")]
    Unwritable {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The output belongs to another job.
    #[error(
        "{output} holds the run of another job: {key} was {old}, is now {new}; choose another job.output, or start over \
         with --fresh"
    )]
    OtherJob {
        /// The output folder.
        output: PathBuf,
        /// First key that differs.
        key: String,
        /// Its value then.
        old: String,
        /// Its value now.
        new: String,
    },
    /// The output was begun with other inputs.
    #[error(
        "{output} was begun with other inputs: {path} was {old}, is now {new}; --append codes what is new or changed and \
         keeps the other archives; else choose another job.output, or start over with --fresh"
    )]
    OtherInput {
        /// The output folder.
        output: PathBuf,
        /// The first input that differs.
        path: PathBuf,
        /// What it was.
        old: String,
        /// What it is.
        new: String,
    },
    /// A file that an earlier run left out can be read now.
    #[error(
        "{file} could not be read when {output} was begun, and what was learned there is without it: start over with \
         --fresh, or choose another job.output; to go on without the file, put it where data.inputs does not find it"
    )]
    Repaired {
        /// The output folder.
        output: PathBuf,
        /// The file.
        file: PathBuf,
    },
    /// The output folder holds files that look like ours, but no run of ours.
    #[error("{output} holds `{entry}`, but no run to go on with; choose another job.output, or remove it by hand")]
    Foreign {
        /// The output folder.
        output: PathBuf,
        /// What stands in the way.
        entry: String,
    },
    /// The memory of the run is not readable.
    #[error("{path} is damaged ({source}); start over with --fresh")]
    DamagedState {
        /// The file.
        path: PathBuf,
        /// Where the text breaks off.
        source: serde_json::Error,
    },
    /// Another process is writing the same output.
    #[error("{output} is being written by another job ({holder}); wait for it, or choose another job.output")]
    Locked {
        /// The output folder.
        output: PathBuf,
        /// Who holds it.
        holder: String,
    },
    /// More ranks than a batch has fixed parts.
    #[error(
        "train.shards: a batch is cut into {shards} fixed shards, which {ranks} ranks cannot share; start at most \
         {shards} ranks, raise train.shards (it must divide train.batch), or set job.reduction to `fast`"
    )]
    TooManyRanks {
        /// Ranks of the world.
        ranks: usize,
        /// Shards of a batch.
        shards: usize,
    },
    /// An argument that asks for what does not exist.
    #[error("{argument}: {reason}")]
    Argument {
        /// The argument.
        argument: String,
        /// What is wrong, and what there is.
        reason: String,
    },
    /// The system refuses a signal handler.
    #[error("cannot listen to signals: {source}")]
    Signals {
        /// What the system said.
        source: std::io::Error,
    },
    /// The system refuses the threads.
    #[error("cannot start {threads} threads: {source}; ask for fewer with --threads")]
    Threads {
        /// How many.
        threads: usize,
        /// What the pool said.
        source: rayon::ThreadPoolBuildError,
    },
    /// MPI does not start.
    #[error("MPI does not start; was sci-hpc started twice in one process?")]
    NoMpi,
    /// A signal asked to stop; the checkpoint is written.
    #[error("stopped in stage {stage} by a signal; the checkpoint is good: run the same command again to go on")]
    Stopped {
        /// The stage that was interrupted or would have been next.
        stage: &'static str,
    },
}

impl JobError {
    /// The error of a stop at the request of a signal, for the stage that honored it.
    pub fn stopped(stage: Stage) -> Self {
        Self::Stopped { stage: stage.as_str() }
    }

    /// The error with the group of variables it is about.
    pub(super) fn of_group(self, group: &str) -> Self {
        match self {
            Self::Assimilate(source) => Self::AssimilateGroup { group: group.into(), source },
            other => other,
        }
    }

    /// Whether every rank returns this same error, so that all can end in order.
    pub(super) fn is_agreed(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Stopped { .. } | Self::LeftOut { .. })
    }

    /// The class, hence the exit code.
    pub fn class(&self) -> Class {
        match self {
            Self::Refused { class, .. } => *class,
            Self::Archive(error) => of_archive(error),
            Self::Dataset(error) => of_dataset(error),
            Self::Model(error) => match error {
                ModelError::Archive(error) => of_archive(error),
                ModelError::Strides { .. }
                | ModelError::EmptyLatent
                | ModelError::KeepsAll { .. }
                | ModelError::Components { .. } => Class::Usage,
                ModelError::NotExact { .. } => Class::Numerics,
                _ => Class::Input,
            },
            Self::Train(error) => match error {
                TrainError::NotFinite { .. } | TrainError::Validation { .. } => Class::Numerics,
                TrainError::OtherRun { .. } | TrainError::LoneValues { .. } => Class::Usage,
                TrainError::Dataset(error) => of_dataset(error),
                TrainError::Archive(error) => of_archive(error),
                TrainError::Report(_) => Class::Output,
                TrainError::Unreadable { .. } => Class::Input,
            },
            Self::Assimilate(error) | Self::AssimilateGroup { source: error, .. } => of_assimilate(error),
            Self::Codec(error) | Self::Uncodable { source: error, .. } => of_codec(error),
            Self::Undecodable { .. } | Self::NothingLearned { .. } => Class::Input,
            Self::NoTestStates { .. } | Self::NoEnsemble { .. } | Self::NoModel { .. } | Self::OtherModel { .. } => {
                Class::Input
            }
            Self::ModelUnfit { .. } | Self::Labels { .. } | Self::NoValues { .. } | Self::InfiniteRange { .. } => {
                Class::Input
            }
            Self::Config(_)
            | Self::OtherJob { .. }
            | Self::OtherInput { .. }
            | Self::Repaired { .. }
            | Self::Foreign { .. }
            | Self::DamagedState { .. }
            | Self::BadPattern { .. }
            | Self::TooManyRanks { .. }
            | Self::Argument { .. } => Class::Usage,
            Self::NoInput { .. } | Self::Unreadable { .. } | Self::GroupUnknown { .. } => Class::Input,
            Self::BadInput { .. } | Self::LeftOut { .. } | Self::DamagedTiles { .. } | Self::Salvaged { .. } => {
                Class::Input
            }
            Self::NoProbe { .. } => Class::Environment,
            Self::NoDevice(_) | Self::Signals { .. } | Self::Threads { .. } | Self::NoMpi => Class::Environment,
            Self::Report(_) | Self::Unwritable { .. } | Self::Locked { .. } => Class::Output,
            Self::Stopped { .. } => Class::Stopped,
        }
    }
}

fn and_others(count: usize) -> String {
    if count == 0 { String::new() } else { format!(" and {count} more") }
}
