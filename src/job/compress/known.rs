//! Tiles that need not be coded: those that were put aside, and those that an archive of the file as it was before has, if
//! they are of the same numbers.

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::archive::{Archive, ArchiveWriter, Box4, Source};
use crate::codec;
use crate::report::write_atomic;

use super::super::coding::{Chosen, Tile};
use super::super::decompress::GroupDecoder;
use super::super::prediction::Predictor;
use super::super::state::Seen;
use super::super::{Group, Input, JobError};
use super::aside::Tiles;
use super::{CodedGroup, File};

/// Predictors by the variables of their groups.
type Predictors = BTreeMap<Vec<String>, Predictor>;

/// The archive that an earlier run made of a file that has changed since.
pub(super) struct Earlier {
    archive: Archive,
}

impl Earlier {
    /// Opens it; a damaged one is none. Collective over the team.
    pub fn open(file: &File) -> Result<Option<Self>, JobError> {
        let path = file.ctx.output.archive(file.input);
        let there = file.team.is_root() && file.is_changed() && Archive::open(&path).is_ok();
        if !file.team.any(there) {
            return Ok(None);
        }
        Ok(Some(Self { archive: Archive::open_together(file.team, &path)? }))
    }

    /// The predictors of groups with the decoders that it has.
    pub fn predictors(&self, groups: &[Group], models: &Predictors) -> Predictors {
        let of_archive = |group: &Group| {
            let model = models.get(&group.variables)?;
            Some((group.variables.clone(), model.of_archive(&self.archive, group)?))
        };
        groups.iter().filter_map(of_archive).collect()
    }

    /// The tiles of a group that it has, and the keys of their numbers.
    fn group<'e>(&'e self, group: &'e str, variables: &[String]) -> Option<(GroupDecoder<'e>, BTreeMap<Box4, u64>)> {
        let decoder = GroupDecoder::open(&self.archive, group).ok()?;
        let bytes = self.archive.blob(&part(group)).ok()?;
        let keys = bytes.chunks_exact(size_of::<u64>()).map(|key| u64::from_le_bytes(key.try_into().expect("8 bytes")));
        let keys: BTreeMap<Box4, u64> = decoder.tiles().into_iter().zip(keys).collect();
        decoder.variables.iter().map(|v| &v.name).eq(variables).then_some((decoder, keys))
    }
}

/// The part of an archive that has the keys of the tiles of a group, in the order of their first index.
fn part(group: &str) -> String {
    format!("inputs/{group}")
}

/// Keeps the keys of the tiles of all ranks in the archive. Collective over the team.
pub(super) fn keep_keys(
    file: &File,
    group: &str,
    tiles: &[Chosen],
    writer: &mut ArchiveWriter,
) -> Result<(), JobError> {
    let mine: Vec<u64> = tiles.iter().map(|tile| tile.key).collect();
    let all = file.team.all_gather_varied(&mine);
    let bytes: Vec<u8> = all.iter().flat_map(|key| key.to_le_bytes()).collect();
    Ok(writer.put_blob(&part(group), &bytes)?)
}

impl File<'_, '_> {
    /// Whether the file has changed since its archive was made, or may have.
    pub(super) fn is_changed(&self) -> bool {
        self.ctx.appended.changed.contains(&self.input.name)
    }

    /// Whether the archive is of the file as it is, although it has changed: an append that was stopped made it.
    pub(super) fn is_marked(&self) -> bool {
        let read = || serde_json::from_slice::<Seen>(&std::fs::read(self.ctx.output.mark(self.input)).ok()?).ok();
        read().is_some_and(|mark| Seen::now(self.input).is_ok_and(|now| now == mark))
    }

    /// Remembers that the archive is of the file as it is. Works on rank 0 of the team.
    pub(super) fn mark(&self, seen: &Seen) -> Result<(), JobError> {
        let path = self.ctx.output.mark(self.input);
        let folder = path.parent().expect("in the folder of checkpoints");
        std::fs::create_dir_all(folder).map_err(|source| JobError::Unwritable { path: folder.into(), source })?;
        Ok(write_atomic(&path, &serde_json::to_vec(seen).expect("plain data"))?)
    }

    /// Takes those of this rank's tiles that were put `aside`, or that lie in an earlier archive, decode and keep what is
    /// promised now; all of the numbers that are read now. Until a signal comes. Returns how many of each.
    pub(super) fn take_over(
        &self,
        source: &Source,
        group: &mut CodedGroup,
        (mut aside, earlier): (Tiles, Option<&Earlier>),
    ) -> Result<[u64; 2], JobError> {
        let CodedGroup { group, plan, boxes, owned, tiles, .. } = group;
        let earlier = earlier.and_then(|earlier| earlier.group(&group.name, &group.variables));
        let archived = |region: &Box4| earlier.as_ref().filter(|(decoder, _)| decoder.has(region));
        let wanted: Vec<usize> =
            owned.clone().filter(|place| aside.contains_key(place) || archived(&boxes[*place]).is_some()).collect();
        let plain = plan.without_model();
        let mut progress = self.ctx.report.progress(&format!("known tiles of {}", group.name), wanted.len() as u64);
        let mut count = [0, 0];
        for round in wanted.chunks(rayon::current_num_threads()) {
            if self.stopped() {
                break;
            }
            let mut read = Vec::new();
            for &place in round {
                let region = &boxes[place];
                let tile = Tile::read(source, &plain, region)?;
                let key = tile.key();
                if let Some(coded) = aside.remove(&place).filter(|coded| coded.key == key) {
                    tiles.insert(place, coded);
                    count[0] += 1;
                } else if let Some((decoder, _)) = archived(region).filter(|(_, keys)| keys.get(region) == Some(&key)) {
                    // What cannot be read is coded again.
                    let Ok(streams) = decoder.streams(region) else { continue };
                    let predicted = streams.iter().any(|(stream, _)| codec::needs_prediction(stream));
                    read.push((place, if predicted { Tile::read(source, plan, region)? } else { tile }, streams));
                }
            }
            let kept = read.into_par_iter();
            let kept =
                kept.filter_map(|(place, tile, streams)| Some((place, tile.with_streams(&plan.variables, streams)?)));
            let kept: Vec<_> = kept.collect();
            count[1] += kept.len() as u64;
            tiles.extend(kept);
            progress.advance(round.len() as u64);
        }
        self.team.sum(&mut count);
        Ok(count)
    }
}

/// Refuses an input that has less than its archive, variables, steps or cells: what they held would be lost.
pub(in super::super) fn check_holds(input: &Input, source: &Source, archive: &Archive) -> Result<(), JobError> {
    for was in archive.coded() {
        let tell = |[t, z, y, x]: [usize; 4]| format!("{t} x {z} x {y} x {x} (t, z, y, x)");
        let has = match source.variable(&was.name) {
            Ok(now) if (0..4).all(|axis| now.shape[axis] >= was.shape[axis]) => continue,
            Ok(now) => format!("`{}` is {}", was.name, tell(now.shape)),
            Err(_) => format!("no `{}`", was.name),
        };
        let reason = format!(
            "{}: {has}; its archive {} has {}, which would be lost: give what is begun anew another name, or remove the \
             archive",
            input.path.display(),
            archive.path().display(),
            tell(was.shape)
        );
        return Err(JobError::Argument { argument: "--append".into(), reason });
    }
    Ok(())
}
