//! What an interrupted assimilation leaves: per method the outcomes so far, and the file of analyses as far as it came.
//!
//! ```text
//! checkpoints/assimilation/<label>.h5        outcomes of the first n states, or of all
//! checkpoints/assimilation/<label>-<n>.nc    analyses of the first n
//! ```

use std::path::PathBuf;

use bytemuck::Pod;

use crate::archive::{ArchiveError, Tree};
use crate::config::Stage;
use crate::job::{Context, JobError};
use crate::world::World;

use super::outcome::Outcomes;
use super::output::Analyses;
use super::states::States;

/// Stands for a size that there is none of.
const NONE: u64 = u64::MAX;

/// The files of one method.
pub(super) struct Checkpoint {
    folder: PathBuf,
    label: String,
}

/// Removes what was kept of a stage that is finished and recorded as such. Works on rank 0.
pub(in crate::job) fn forget(ctx: &Context) -> Result<(), JobError> {
    let path = folder(ctx);
    let gone = !ctx.world.is_root() || !path.exists();
    let removed = if gone { Ok(()) } else { std::fs::remove_dir_all(&path) };
    removed.map_err(|source| JobError::Unwritable { path, source })
}

fn folder(ctx: &Context) -> PathBuf {
    ctx.output.checkpoints().join("assimilation")
}

impl Checkpoint {
    /// Of the method `label`.
    pub(super) fn of(ctx: &Context, label: &str) -> Self {
        Self { folder: folder(ctx), label: label.into() }
    }

    fn outcomes(&self) -> PathBuf {
        self.folder.join(format!("{}.h5", self.label))
    }

    fn analyses(&self, states: usize) -> PathBuf {
        self.folder.join(format!("{}-{states}.nc", self.label))
    }

    /// The outcomes that an earlier run left, none if it left nothing, and the file of analyses to go on with; `None` if
    /// that is complete. Collective.
    pub(super) fn load<'w>(
        &self,
        ctx: &Context<'w>,
        states: &States,
    ) -> Result<(Outcomes, Option<Analyses<'w>>), JobError> {
        let total = states.test.len();
        let path = self.outcomes();
        let outcomes = match ctx.world.any(ctx.world.is_root() && path.exists()) {
            true => read(&Tree::read_own(&path)?)?,
            false => Outcomes::default(),
        };
        let done = outcomes.states.len();
        let file = if done == total { Analyses::path(ctx, &self.label) } else { self.analyses(done) };
        if done == 0 || !ctx.world.any(ctx.world.is_root() && file.exists()) {
            return Ok((Outcomes::default(), Some(Analyses::create(ctx, states, &self.label)?)));
        }
        ctx.report.log(format_args!("assimilate {}: goes on after {done} of {total} states", self.label));
        let unfinished = (done < total).then(|| Analyses::resume(ctx, states, (&self.label, &file)));
        Ok((outcomes, unfinished.transpose()?))
    }

    /// Keeps the outcomes of a method whose analyses are complete. Collective.
    pub(super) fn complete(&self, ctx: &Context, outcomes: &Outcomes) -> Result<(), JobError> {
        ctx.make_folder(&self.folder)?;
        self.write(ctx.world, outcomes)
    }

    /// Keeps outcomes and analyses so far; the answer is that the job stopped. Collective.
    pub(super) fn stop(&self, ctx: &Context, outcomes: &Outcomes, analyses: Analyses) -> Result<JobError, JobError> {
        if !outcomes.states.is_empty() {
            ctx.make_folder(&self.folder)?;
            analyses.suspend(&self.analyses(outcomes.states.len()))?;
            self.write(ctx.world, outcomes)?;
        }
        Ok(JobError::stopped(Stage::Assimilate))
    }

    fn write(&self, world: &World, outcomes: &Outcomes) -> Result<(), JobError> {
        if world.is_root() {
            tree(outcomes).write(&self.outcomes())?;
        }
        world.barrier();
        Ok(())
    }
}

fn tree(outcomes: &Outcomes) -> Tree {
    let mut tree = Tree::new();
    put_table(&mut tree, "states", &outcomes.states);
    put_table(&mut tree, "trace", &outcomes.trace);
    put_table(&mut tree, "plane", &outcomes.plane);
    tree.put("offline_s", &[], vec![outcomes.offline_s]);
    for (name, size) in [("modes", outcomes.modes), ("latent", outcomes.latent)] {
        tree.put(name, &[], vec![size.map_or(NONE, |n| n as u64)]);
    }
    tree
}

fn read(tree: &Tree) -> Result<Outcomes, ArchiveError> {
    let size = |name: &str| -> Result<Option<usize>, ArchiveError> {
        let number = tree.scalar::<u64>(name)?;
        Ok(usize::try_from(number).ok().filter(|_| number != NONE))
    };
    Ok(Outcomes {
        modes: size("modes")?,
        latent: size("latent")?,
        offline_s: tree.scalar("offline_s")?,
        states: table(tree, "states")?,
        trace: table(tree, "trace")?,
        plane: table(tree, "plane")?,
    })
}

/// Rows of f64, (n, fields).
fn put_table<T: Pod>(tree: &mut Tree, name: &str, rows: &[T]) {
    let fields = size_of::<T>() / size_of::<f64>();
    tree.put(name, &[rows.len(), fields], bytemuck::cast_slice::<T, f64>(rows).to_vec());
}

fn table<T: Pod>(tree: &Tree, name: &str) -> Result<Vec<T>, ArchiveError> {
    let fields = size_of::<T>() / size_of::<f64>();
    let n = tree.get::<f64>(name)?.1.len() / fields;
    Ok(bytemuck::cast_slice(tree.shaped::<f64>(name, &[n, fields])?).to_vec())
}
