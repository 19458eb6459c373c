//! The archive of a file that has changed since: tiles that still keep every promise stay as they are.

use rayon::prelude::*;

use crate::archive::{Archive, Source};
use crate::codec;

use super::super::coding::Tile;
use super::super::decompress::GroupDecoder;
use super::super::{Context, Input, JobError};
use super::{CodedGroup, File};

/// Opens the archive that an earlier run made of a file, if the file has changed since; a damaged archive is none.
pub(super) fn open(ctx: &Context, input: &Input) -> Option<Archive> {
    let path = ctx.output.archive(input);
    if ctx.appended.changed.contains(&input.name) { Archive::open(&path).ok() } else { None }
}

impl File<'_, '_> {
    /// Takes those of this rank's tiles from an earlier archive that lie there, decode and are within the bounds of what
    /// the file holds now; until a signal comes.
    pub(super) fn take_over(&self, source: &Source, group: &mut CodedGroup, earlier: &Archive) -> Result<(), JobError> {
        let CodedGroup { group, plan, boxes, owned, tiles, .. } = group;
        let Ok(decoder) = GroupDecoder::open(earlier, &group.name) else { return Ok(()) };
        if !decoder.variables.iter().map(|v| &v.name).eq(&group.variables) {
            return Ok(());
        }
        let plain = plan.without_model();
        let wanted = |place: &usize| !tiles.contains_key(place) && decoder.has(&boxes[*place]);
        let wanted: Vec<usize> = owned.clone().filter(wanted).collect();
        let mut progress =
            self.ctx.report.progress(&format!("tiles of {} in the archive", group.name), wanted.len() as u64);
        for round in wanted.chunks(rayon::current_num_threads()) {
            if self.stopped() {
                break;
            }
            let read = |&place: &usize| {
                // What cannot be read is coded again.
                let Ok(streams) = decoder.streams(&boxes[place]) else { return Ok(None) };
                let predicted = streams.iter().any(|(stream, _)| codec::needs_prediction(stream));
                let tile = Tile::read(source, if predicted { plan } else { &plain }, &boxes[place])?;
                Ok(Some((place, tile, streams)))
            };
            let read: Vec<_> =
                round.iter().filter_map(|place| read(place).transpose()).collect::<Result<_, JobError>>()?;
            let kept = read
                .into_par_iter()
                .filter_map(|(place, tile, streams)| Some((place, tile.with_streams(&plan.variables, streams)?)));
            tiles.extend(kept.collect::<Vec<_>>());
            progress.advance(round.len() as u64);
        }
        Ok(())
    }
}
