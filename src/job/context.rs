//! What a stage receives.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::config::Job;
use crate::dataset::Split;
use crate::report::Report;
use crate::world::World;

use super::state::Appended;
use super::{BadFile, Device, JobError, memory, smoke};

/// What a stage receives. Every rank has one; collective calls go through `world`.
pub struct Context<'a> {
    /// The ranks.
    pub world: &'a World,
    /// The resolved job.
    pub config: &'a Job,
    /// Where everything is written.
    pub output: Output,
    /// Log, events, metrics, figures; silent on ranks other than 0.
    pub report: Report,
    /// Input data: the files of `data.inputs`, or those `generate` made; sorted, the same on every rank.
    pub inputs: Vec<Input>,
    /// Inputs and archives that cannot be opened; with `data.on_bad_file: skip` the others are worked on.
    pub left_out: Vec<BadFile>,
    /// Archives to decompress: those of `decompress.archives`, or those `compress` made; sorted.
    pub archives: Vec<Input>,
    /// What earlier runs made of inputs that are others now.
    pub(super) appended: Appended,
    /// Where training and encoding run.
    pub device: Arc<Device>,
    /// `--smoke`: do one tiny piece of the work (one optimizer step, one state, a tile per rank of one file), then stop.
    pub smoke: bool,
    /// Raised by a signal on this rank.
    pub stop: Arc<AtomicBool>,
}

/// An input file and what its products are called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Input {
    /// Where the file is.
    pub path: PathBuf,
    /// Its file name; where inputs share one, with as many parent folders as set them apart.
    pub name: PathBuf,
}

/// The output folder `job.output` and the places in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    root: PathBuf,
}

/// What compressing appends to the name of a file.
pub const ARCHIVE_SUFFIX: &str = ".sci.h5";

impl Input {
    /// A file made by this job below `folder`, named by its path there.
    pub(super) fn of_product(path: PathBuf, folder: &Path) -> Self {
        let name = path.strip_prefix(folder).unwrap_or(&path).into();
        Self { path, name }
    }
}

impl Context<'_> {
    /// Whether a signal asks to stop, on any rank. Collective: call it on every rank at the same place (a step
    /// boundary), write the checkpoint, and return [`JobError::stopped`].
    pub fn stop_requested(&self) -> bool {
        self.world.any(self.stop.load(Ordering::Relaxed))
    }

    /// Gives back what the device and the C library keep for the next arrays: the work that comes is another.
    pub(super) fn release_memory(&self) {
        self.device.release();
        memory::release();
    }

    /// The parts of `samples` samples that this job works on.
    pub fn split(&self, samples: usize) -> Result<Split, JobError> {
        let mut split = Split::new(samples, &self.config.data.split, self.config.job.seed)?;
        if self.smoke {
            smoke::shorten(&mut split, self.config);
        }
        Ok(split)
    }

    /// Makes `folder` and its parents on rank 0 and lets the others wait for it. Collective.
    pub fn make_folder(&self, folder: &Path) -> Result<(), JobError> {
        let made = if self.world.is_root() { std::fs::create_dir_all(folder) } else { Ok(()) };
        self.world.barrier();
        made.map_err(|source| JobError::Unwritable { path: folder.into(), source })
    }
}

impl Output {
    /// The output in the folder `root`.
    pub fn new(root: &Path) -> Self {
        Self { root: root.into() }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Anything else a stage writes, by its path below the output.
    pub fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Files that `generate` makes; every `*.nc` in it becomes an input of the later stages.
    pub fn generated(&self) -> PathBuf {
        self.root.join("generate")
    }

    /// Checkpoints of training.
    pub fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    /// The model of the group `name`; `single`: whether the job has only this one.
    pub fn model(&self, name: &str, single: bool) -> PathBuf {
        if single { self.root.join("model.h5") } else { self.root.join("models").join(format!("{name}.h5")) }
    }

    /// What `compress` keeps until it is done with all inputs.
    pub fn asides(&self) -> PathBuf {
        self.checkpoints().join("compress")
    }

    /// Coded tiles of an input whose coding was stopped.
    pub fn aside(&self, input: &Input) -> PathBuf {
        self.asides().join(with(&input.name, ".h5"))
    }

    /// That the archive of a changed input is of what the input is now.
    pub fn mark(&self, input: &Input) -> PathBuf {
        self.asides().join(with(&input.name, ".json"))
    }

    /// The archive of an input.
    pub fn archive(&self, input: &Input) -> PathBuf {
        self.root.join("archive").join(with(&input.name, ARCHIVE_SUFFIX))
    }

    /// The file an archive is turned back into.
    pub fn decompressed(&self, archive: &Input) -> PathBuf {
        let name = archive.name.to_string_lossy();
        self.root.join("decompressed").join(name.strip_suffix(ARCHIVE_SUFFIX).unwrap_or(&name))
    }
}

/// A name with something behind it.
fn with(name: &Path, end: &str) -> PathBuf {
    let mut name = name.as_os_str().to_os_string();
    name.push(end);
    name.into()
}
