//! The coded tiles of a group into its archive, and what they come to.

use std::collections::BTreeMap;

use crate::archive::{ArchiveWriter, Box4, IndexRecord, Source, Streams, names_to_text};
use crate::report::metrics::Quality;
use crate::report::physics::Physics;

use super::super::coding::{self, CodedTile};
use super::super::prediction::hyper_part;
use super::super::total::{OfRegion, Total};
use super::super::{JobError, rate, slices};
use super::{ChosenGroup, CodedGroup, File, known, masks};

impl File<'_, '_> {
    /// The learned prediction stays if what it saves in all tiles pays for the decoder, or a tile is nothing without it.
    /// Collective over the team.
    pub(super) fn choose<'g>(&self, coded: CodedGroup<'g>) -> ChosenGroup<'g> {
        let CodedGroup { group, variables, plan, boxes, owned, tiles } = coded;
        let mut decoder = plan.model.map_or_else(Vec::new, |m| m.to_parts(&group.name));
        let needed = tiles.values().filter(|tile| tile.is_learned_only()).count() as u64;
        let sum = |saved: &dyn Fn(&CodedTile) -> u64| tiles.values().map(saved).sum::<u64>();
        let saved = [false, true].map(|hyper| sum(&|tile| tile.saved(hyper)));
        let mut sums = [saved[0], saved[1], sum(&CodedTile::saved_by_hyper), needed];
        self.team.sum(&mut sums);
        let [without, under, saved_by_hyper, needed] = sums;
        // The decoder of hyper-latents has to pay for itself.
        let hyper = hyper_part(&group.name);
        let cost = decoder.iter().find(|(name, _)| *name == hyper).map(|(_, bytes)| bytes.len() as u64);
        let keep_hyper = cost.is_some_and(|cost| saved_by_hyper > cost);
        decoder.retain(|(name, _)| *name != hyper || keep_hyper);
        let saved = if keep_hyper { under } else { without };
        let keep = !decoder.is_empty() && (saved > size(&decoder) || needed > 0 || plan.learned_only);
        if let Some(cost) = cost.filter(|_| keep) {
            let so = if keep_hyper { "kept" } else { "left out" };
            let (name, file) = (&group.name, self.input.path.display());
            self.say(format!(
                "compress {name}: hyper-latents save {saved_by_hyper} bytes of {file}, their decoder takes {cost}: {so}"
            ));
        }
        let tiles = tiles.into_values().map(|tile| tile.choose([keep, keep_hyper])).collect();
        ChosenGroup { group, variables, plan, boxes, owned, tiles, decoder: if keep { decoder } else { Vec::new() } }
    }

    /// Hands the streams of a group to the writer; returns the bytes of its decoder. Collective over the team.
    pub(super) fn write_group(
        &self,
        source: &Source,
        coded: &ChosenGroup,
        (writer, totals): (&mut ArchiveWriter, &mut BTreeMap<String, Total>),
    ) -> Result<u64, JobError> {
        let (world, group) = (self.team, coded.group);
        // 1. Into the archive.
        let masks = masks::share(world, &group.name, &coded.tiles, writer)?;
        let mask_bytes = masks.keys().map(|mask| mask.len() as u64).sum::<u64>() / coded.variables.len() as u64;
        known::keep_keys(self, &group.name, &coded.tiles, writer)?;
        let mut streams = Streams::new();
        for (tile, region) in coded.tiles.iter().zip(&coded.boxes[coded.owned.clone()]) {
            if let Some(latents) = &tile.latents {
                streams.push(region, IndexRecord::SHARED, 0, latents);
            }
            for (v, coded) in tile.variables.iter().enumerate() {
                let number = u32::try_from(v).expect("few variables");
                streams.push(region, number, coded.code(&masks), coded.stream());
            }
        }
        for (name, bytes) in &coded.decoder {
            writer.put_blob(name, bytes)?;
        }
        writer.put_text(&format!("members/{}", group.name), &names_to_text(&group.variables))?;
        writer.write_group(&group.name, streams)?;
        let before = totals.len();
        self.add_up(coded, totals);
        for name in &group.variables {
            totals.entry(name.clone()).and_modify(|total| total.compressed_bytes += mask_bytes);
        }
        // 2. What other bounds would cost.
        let shown = self.shown && before < slices::VARIABLES;
        if let Some(middle) = coded.boxes.get(coded.boxes.len() / 2).filter(|_| shown) {
            let of_all = coded.variables.iter().map(|&v| (v, &totals[&v.name]));
            let reached: Vec<_> = of_all.map(|(v, total)| (v, total.quality, total.bits_per_value())).collect();
            rate::figures((self.ctx, world), (source, &coded.plan), middle, &reached)?;
        }
        Ok(size(&coded.decoder))
    }

    /// Adds the tiles of all ranks to the totals, in tile order whatever the number of ranks. Collective.
    fn add_up(&self, coded: &ChosenGroup, totals: &mut BTreeMap<String, Total>) {
        let world = self.team;
        let ChosenGroup { group, variables, plan, boxes, owned, tiles, .. } = coded;
        let values: usize = boxes.iter().map(Box4::count).sum();
        for (v, name) in group.variables.iter().enumerate() {
            let sums: Vec<Vec<f64>> = tiles.iter().map(|t| t.variables[v].sums(t.latent_share())).collect();
            let sum = world.tree_sum(boxes.len(), owned, &sums, coding::SUMS);
            let mut least = [f64::NEG_INFINITY; coding::EXTREMES];
            (least[0], least[3]) = (0.0, 0.0);
            let larger =
                |a: [f64; coding::EXTREMES], b: [f64; coding::EXTREMES]| std::array::from_fn(|i| a[i].max(b[i]));
            let mut extremes = tiles.iter().map(|t| t.variables[v].extremes()).fold(least, larger);
            world.max(&mut extremes);
            let quality = Quality {
                n: sum[0] as u64,
                squared_error: sum[1],
                squared_value: sum[2],
                max_abs_error: extremes[0],
                // Of two zeros of either sign MPI takes any.
                min: -extremes[1] + 0.0,
                max: extremes[2] + 0.0,
            };
            let total = Total {
                quality,
                original_bytes: (values * variables[v].element.size()) as u64,
                compressed_bytes: sum[3] as u64,
                violations: sum[4] as u64,
                bound: plan.variables[v].bound_abs,
                mode: plan.variables[v].mode.clone(),
                iq: [sum[5], sum[6], extremes[3]],
                beam: (sum[5] > 0.0).then(|| [[-extremes[4], extremes[5]], [-extremes[6], extremes[7]]]),
                defects: sum[7] as u64,
                regions: Vec::new(),
                physics: Physics::default(),
                tiles: coding::CLASSES
                    .iter()
                    .zip(&sum[8..])
                    .map(|(&class, &count)| (class.to_string(), count as u64))
                    .collect(),
            };
            let regions = plan.variables[v].regions().map(|(number, bound)| {
                let of_region = tiles.iter().map(|t| &t.variables[v]).filter(|coded| coded.touches(number));
                let (mut count, mut largest) = ([of_region.clone().count() as u64], [0.0f64]);
                largest[0] = of_region.fold(0.0, |largest, coded| coded.quality.max_abs_error.max(largest));
                world.sum(&mut count);
                world.max(&mut largest);
                OfRegion { number, tiles: count[0], bound, max_abs_error: largest[0] }
            });
            let total = Total { regions: regions.collect(), ..total };
            totals.insert(name.clone(), total);
        }
    }
}

fn size(parts: &[(String, Vec<u8>)]) -> u64 {
    parts.iter().map(|(_, bytes)| bytes.len() as u64).sum()
}
