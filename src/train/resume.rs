//! Checkpoints: everything the next step depends on, so that a resumed run has the bits of an uninterrupted one.
//!
//! One file per checkpoint, `step-NNNNNNNN.h5`, written under a temporary name, flushed and renamed; then `LATEST` names
//! it; then older ones go. The rank count is not part of it: any number of ranks goes on.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::TrainError;
use super::history::{Epoch, Running, of_table, to_table};
use crate::archive::Tree;
use crate::dataset::Cursor;
use crate::report::write_atomic;
use crate::world::World;

/// What a checkpoint belongs to: digests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Of the graph.
    pub model: String,
    /// Of the samples and their statistics.
    pub data: String,
    /// Of batch, loss, learning rate, seed, reduction.
    pub settings: String,
}

/// The state between two steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Flat parameters.
    pub params: Vec<f32>,
    /// First moments of Adam.
    pub first: Vec<f32>,
    /// Second moments of Adam.
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

/// The file that names the last checkpoint.
const LATEST: &str = "LATEST";

impl Checkpoint {
    /// Writes the checkpoint into `folder` and removes all but the last `keep`. Call it on rank 0.
    ///
    /// Errors: [`TrainError::Archive`], [`TrainError::Report`].
    pub fn write(&self, folder: &Path, identity: &Identity, keep: usize) -> Result<(), TrainError> {
        let name = format!("step-{:08}.h5", self.steps);
        self.tree(identity).write(&folder.join(&name))?;
        write_atomic(&folder.join(LATEST), name.as_bytes())?;
        let old = checkpoints(folder)?;
        for path in &old[..old.len().saturating_sub(keep)] {
            // A leftover costs space, nothing else.
            let _ = std::fs::remove_file(path);
        }
        Ok(())
    }

    /// The last checkpoint of `folder`; `None` if there is none. Rank 0 says which, every rank reads it. Collective.
    ///
    /// Errors: [`TrainError::OtherRun`] if it is of another model, data or settings; of reading.
    pub fn read_latest(world: &World, folder: &Path, identity: &Identity) -> Result<Option<Self>, TrainError> {
        let path = folder.join(LATEST);
        let name = if world.is_root() && path.exists() {
            std::fs::read_to_string(&path).map_err(|source| TrainError::Unreadable { path, source })?
        } else {
            String::new()
        };
        let name = String::from_utf8_lossy(&world.broadcast_bytes(name.into_bytes())).trim().to_string();
        if name.is_empty() {
            return Ok(None);
        }
        let path = folder.join(name);
        let tree = Tree::read(&path)?;
        let found: Identity = tree.json("identity")?;
        let parts = [
            ("model", &found.model, &identity.model),
            ("set of data", &found.data, &identity.data),
            ("choice of batch, loss, learning rate, seed or reduction", &found.settings, &identity.settings),
        ];
        match parts.into_iter().find(|(_, found, own)| found != own) {
            Some((what, ..)) => Err(TrainError::OtherRun { path, what }),
            None => Ok(Some(Self::of_tree(&tree)?)),
        }
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
        tree.put("epochs", &[table.len()], table);
        tree
    }

    fn of_tree(tree: &Tree) -> Result<Self, TrainError> {
        let flat = |path: &str| tree.get::<f32>(path).map(|(_, values)| values.to_vec());
        let params = flat("params")?;
        let counters = tree.shaped::<u64>("counters", &[3])?;
        let running = tree.shaped::<f64>("running", &[4])?;
        let moments = |path: &str| tree.shaped::<f32>(path, &[params.len()]).map(<[f32]>::to_vec);
        Ok(Self {
            first: moments("adam/first")?,
            second: moments("adam/second")?,
            steps: counters[0],
            next: Cursor {
                epoch: u32::try_from(counters[1]).unwrap_or(u32::MAX),
                batch: usize::try_from(counters[2]).unwrap_or(usize::MAX),
            },
            running: Running { loss: running[0], samples: running[1], gradient_norm: running[2], seconds: running[3] },
            epochs: of_table(tree.get::<f64>("epochs")?.1),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity { model: "m".into(), data: "d".into(), settings: "s".into() }
    }

    fn checkpoint(steps: u64) -> Checkpoint {
        let epoch = Epoch {
            epoch: 1,
            loss_train: 0.1 + 0.2,
            loss_valid: 3.0,
            rel_l2_valid: 0.25,
            gradient_norm: 1e-300,
            seconds: 2.0,
        };
        Checkpoint {
            params: vec![0.1, -2.0, f32::MIN_POSITIVE],
            first: vec![1.0, 2.0, 3.0],
            second: vec![4.0, 5.0, 6.0],
            steps,
            next: Cursor { epoch: 3, batch: 7 },
            running: Running { loss: 1.0 / 3.0, samples: 12.0, gradient_norm: 5.0, seconds: 0.5 },
            epochs: vec![epoch; 2],
        }
    }

    #[test]
    fn last_checkpoint_comes_back_and_old_ones_go() {
        let folder = std::env::temp_dir().join(format!("sci-hpc-resume-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let world = World::serial();
        assert_eq!(Checkpoint::read_latest(&world, &folder, &identity()).unwrap(), None);
        for steps in [5, 10, 100] {
            checkpoint(steps).write(&folder, &identity(), 2).unwrap();
        }
        let back = Checkpoint::read_latest(&world, &folder, &identity()).unwrap();
        assert_eq!(back, Some(checkpoint(100)));
        assert_eq!(checkpoints(&folder).unwrap().len(), 2);
        let other = Identity { data: "other".into(), ..identity() };
        assert!(matches!(
            Checkpoint::read_latest(&world, &folder, &other),
            Err(TrainError::OtherRun { what: "set of data", .. })
        ));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
