//! Tiles of a file that were coded when a signal came: they are put aside, and the same job goes on with them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::archive::{ArchiveWriter, Box4, IndexRecord, StreamFile, Streams};
use crate::world::World;

use super::super::coding::CodedTile;
use super::super::{Context, Input, JobError};
use super::CodedGroup;

/// Coded tiles of a group by their place among its boxes.
pub(super) type Tiles = BTreeMap<usize, CodedTile>;

/// What is put aside of one input file.
pub(super) struct Aside {
    path: PathBuf,
    /// What an earlier run left.
    earlier: Option<StreamFile>,
}

impl Aside {
    /// Opens what an earlier run put aside of a file, if it did; a damaged file is none. Collective over the team.
    pub fn open(ctx: &Context, team: &World, input: &Input) -> Result<Self, JobError> {
        let path = ctx.output.aside(input);
        let there = team.any(team.is_root() && path.exists() && StreamFile::is_whole(&path));
        let earlier = there.then(|| StreamFile::open(&path)).transpose()?;
        Ok(Self { path, earlier })
    }

    /// Those tiles of a group that were put aside, of the places `owned` among its boxes, by the plan with this digest.
    pub fn tiles(&self, (group, plan): (&str, u64), boxes: &[Box4], owned: std::ops::Range<usize>) -> Tiles {
        let Some((file, index)) = self.earlier.as_ref().and_then(|file| Some((file, file.index(group).ok()?))) else {
            return Tiles::new();
        };
        let records: BTreeMap<Box4, &IndexRecord> = index.iter().map(|record| (record.region(), record)).collect();
        // What cannot be read is coded again.
        let tile = |place: usize| {
            let bytes = file.read_stream(group, records.get(&boxes[place])?).ok()?;
            Some((place, CodedTile::from_bytes(&bytes, plan)?))
        };
        owned.filter_map(tile).collect()
    }

    /// Puts the tiles of all ranks aside, unless an earlier run came further; returns how many lie there. Collective over
    /// the team.
    pub fn put(&self, team: &World, groups: &[CodedGroup]) -> Result<usize, JobError> {
        let earlier = self.earlier.as_ref().map_or(0, StreamFile::count);
        let mut count = [groups.iter().map(|group| group.tiles.len() as u64).sum::<u64>()];
        team.sum(&mut count);
        let count = usize::try_from(count[0]).expect("64-bit address space");
        if count <= earlier {
            return Ok(earlier);
        }
        let folder = self.path.parent().expect("in the folder of checkpoints");
        let made = if team.is_root() { std::fs::create_dir_all(folder) } else { Ok(()) };
        made.map_err(|source| JobError::Unwritable { path: folder.into(), source })?;
        let mut writer = ArchiveWriter::aside(team, &self.path)?;
        for group in groups {
            let mut streams = Streams::new();
            let plan = group.plan.digest();
            for (&place, tile) in &group.tiles {
                streams.push(&group.boxes[place], IndexRecord::SHARED, 0, &tile.to_bytes(plan));
            }
            writer.write_group(&group.group.name, streams)?;
        }
        writer.finish()?;
        Ok(count)
    }

    /// Removes what was put aside of a file whose archive is there now. Works on rank 0 of the team.
    pub fn remove(&self, team: &World) -> Result<(), JobError> {
        if !team.is_root() || !self.path.exists() {
            return Ok(());
        }
        std::fs::remove_file(&self.path).map_err(|source| JobError::Unwritable { path: self.path.clone(), source })
    }
}
