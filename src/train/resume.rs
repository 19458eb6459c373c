//! Checkpoints: everything the next step depends on, so that a resumed run has the bits of an uninterrupted one.
//!
//! One file per checkpoint, `step-NNNNNNNN.h5`, written under a temporary name, flushed and renamed; then older ones go.
//! The rank count is not part of it: any number of ranks goes on.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::TrainError;
use super::history::{COLUMNS, Epoch, Running, of_table, to_table};
use crate::archive::Tree;
use crate::dataset::Cursor;
use crate::world::World;

/// What a checkpoint belongs to: digests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Of the graph.
    pub model: String,
    /// Of the samples and their statistics.
    pub data: String,
    /// Of batch, loss, optimizer, learning rate, seed, reduction.
    pub settings: String,
}

/// The state between two steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Flat parameters.
    pub params: Vec<f32>,
    /// First moments of Adam, nothing of RMSprop; of a pass, see `principal`, sums.
    pub first: Vec<f32>,
    /// Second moments of Adam, means of squares of RMSprop; of a pass what the sums round away.
    pub second: Vec<f32>,
    /// Optimizer steps done.
    pub steps: u64,
    /// The next batch.
    pub next: Cursor,
    /// The epoch under way.
    pub running: Running,
    /// Finished epochs.
    pub epochs: Vec<Epoch>,
}

impl Checkpoint {
    /// Writes the checkpoint into `folder` and removes all but the last `keep`. Call it on rank 0.
    ///
    /// Errors: [`TrainError::Archive`], [`TrainError::Report`].
    pub fn write(&self, folder: &Path, identity: &Identity, keep: usize) -> Result<(), TrainError> {
        let name = format!("step-{:08}.h5", self.steps);
        self.tree(identity).write(&folder.join(&name))?;
        let old = checkpoints(folder)?;
        for path in &old[..old.len().saturating_sub(keep)] {
            // A leftover costs space, nothing else.
            let _ = std::fs::remove_file(path);
        }
        Ok(())
    }

    /// The last checkpoint of `folder` that can be read, and what is wrong with later ones; `None` if there is none.
    /// Rank 0 says which, every rank reads it. Collective.
    ///
    /// Errors: [`TrainError::OtherRun`] if it is of another model, data or settings; of reading, if none can be read.
    pub fn read_latest(
        world: &World,
        folder: &Path,
        identity: &Identity,
    ) -> Result<(Option<Self>, Vec<TrainError>), TrainError> {
        // 1. Which; where none can be read, every rank meets the error of the last one.
        let (mut chosen, mut damaged) = (PathBuf::new(), Vec::new());
        if world.is_root() {
            let all = checkpoints(folder)?;
            chosen = all.last().cloned().unwrap_or_default();
            for path in all.into_iter().rev() {
                match Self::read(&path) {
                    Ok(_) => {
                        chosen = path;
                        break;
                    }
                    Err(error) => damaged.push(error),
                }
            }
        }
        let chosen: PathBuf = world.broadcast(Some(&chosen).filter(|_| world.is_root()));
        if chosen.as_os_str().is_empty() {
            return Ok((None, damaged));
        }
        // 2. Whose.
        let (found, checkpoint) = Self::read(&chosen)?;
        let parts = [
            ("model", &found.model, &identity.model),
            ("set of data", &found.data, &identity.data),
            ("choice of batch, loss, optimizer, learning rate, seed or reduction", &found.settings, &identity.settings),
        ];
        match parts.into_iter().find(|(_, found, own)| found != own) {
            Some((what, ..)) => Err(TrainError::OtherRun { path: chosen, what }),
            None => Ok((Some(checkpoint), damaged)),
        }
    }

    fn read(path: &Path) -> Result<(Identity, Self), TrainError> {
        let tree = Tree::read_own(path)?;
        Ok((tree.json("identity")?, Self::of_tree(&tree)?))
    }

    fn tree(&self, identity: &Identity) -> Tree {
        let mut tree = Tree::new();
        let Running { loss, samples, gradient_norm, seconds } = self.running;
        tree.put_json("identity", identity);
        tree.put("params", &[self.params.len()], self.params.clone());
        tree.put("adam/first", &[self.first.len()], self.first.clone());
        tree.put("adam/second", &[self.second.len()], self.second.clone());
        let counters = vec![self.steps, u64::from(self.next.epoch), self.next.batch as u64];
        tree.put("counters", &[3], counters);
        tree.put("running", &[4], vec![loss, samples, gradient_norm, seconds]);
        let table = to_table(&self.epochs);
        tree.put("epochs", &[self.epochs.len(), COLUMNS], table);
        tree
    }

    fn of_tree(tree: &Tree) -> Result<Self, TrainError> {
        let flat = |path: &str| tree.get::<f32>(path).map(|(_, values)| values.to_vec());
        let params = flat("params")?;
        let counters = tree.shaped::<u64>("counters", &[3])?;
        let running = tree.shaped::<f64>("running", &[4])?;
        // Running statistics at the end of the parameters have no moments.
        let trained = tree.get::<f32>("adam/second")?.1.len().min(params.len());
        let moments = |path: &str, len| tree.shaped::<f32>(path, &[len]).map(<[f32]>::to_vec);
        let first = if tree.get::<f32>("adam/first")?.1.is_empty() { 0 } else { trained };
        Ok(Self {
            first: moments("adam/first", first)?,
            second: moments("adam/second", trained)?,
            steps: counters[0],
            next: Cursor {
                epoch: u32::try_from(counters[1]).unwrap_or(u32::MAX),
                batch: usize::try_from(counters[2]).unwrap_or(usize::MAX),
            },
            running: Running { loss: running[0], samples: running[1], gradient_norm: running[2], seconds: running[3] },
            epochs: of_table(tree.shaped::<f64>("epochs", &[tree.get::<f64>("epochs")?.1.len() / COLUMNS, COLUMNS])?),
            params,
        })
    }
}

/// Checkpoint files, oldest first.
fn checkpoints(folder: &Path) -> Result<Vec<PathBuf>, TrainError> {
    let unreadable = |source| TrainError::Unreadable { path: folder.into(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("step-") && name.ends_with(".h5") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
