//! Masks, which many tiles share.

use std::collections::{BTreeMap, BTreeSet};

use crate::archive::ArchiveWriter;
use crate::world::World;

use super::super::JobError;
use super::super::coding::{Chosen, pack, unpack};

/// Stores the distinct masks of all ranks once, in the order of their bytes; returns their places. Collective.
pub(super) fn share(
    world: &World,
    group: &str,
    tiles: &[Chosen],
    writer: &mut ArchiveWriter,
) -> Result<BTreeMap<Vec<u8>, u32>, JobError> {
    let mine: BTreeSet<Vec<u8>> = tiles.iter().flat_map(|t| &t.variables).filter_map(|v| v.mask()).collect();
    let mut all = BTreeSet::new();
    world.gather_each(&pack(&mine), |bytes| all.extend(unpack(&bytes).map(<[u8]>::to_vec)));
    let all = world.broadcast_bytes(pack(&all));
    let all: BTreeSet<Vec<u8>> = unpack(&all).map(<[u8]>::to_vec).collect();
    for (i, mask) in all.iter().enumerate() {
        writer.put_blob(&format!("masks/{group}/{i}"), mask)?;
    }
    Ok(all.into_iter().zip(0..).collect())
}
