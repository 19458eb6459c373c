//! Many files over many ranks: teams of ranks work through lists of files, each team for itself.
//!
//! Teams are as large as the largest file needs; where all files are small every rank works alone and waits for nobody.

use crate::world::{World, shard};

use super::{Context, Input, JobError};

/// Bytes of a file that one rank handles in reasonable time and memory.
const RANK_BYTES: u64 = 1 << 28;

/// The team of this rank.
pub(super) struct Team {
    /// Its ranks.
    pub world: World,
    /// Its files by their place in the list, ascending. Team 0, which has rank 0 of the job, has the first file.
    pub files: Vec<usize>,
}

impl Team {
    /// Divides the ranks of the job and `inputs` into teams, by the sizes of the files as rank 0 finds them. Collective.
    pub fn of(ctx: &Context, inputs: &[Input]) -> Result<Self, JobError> {
        let world = ctx.world;
        let size = |input: &Input| std::fs::metadata(&input.path).map_or(0, |m| m.len());
        let sizes = world.is_root().then(|| inputs.iter().map(size).collect::<Vec<u64>>());
        let sizes: Vec<u64> = world.broadcast(sizes.as_ref());
        let mut lists = assign(&sizes, world.size());
        let team = (0..lists.len()).find(|&t| shard::range(world.size(), lists.len(), t).contains(&world.rank()));
        let team = team.expect("every rank is in a team");
        Ok(Self { files: lists.swap_remove(team), world: world.split(team) })
    }
}

/// The files of each team: teams as large as the largest file needs, files by size to the team with the least to do.
fn assign(sizes: &[u64], ranks: usize) -> Vec<Vec<usize>> {
    let largest = sizes.iter().copied().max().unwrap_or(0);
    let needed = usize::try_from(largest.div_ceil(RANK_BYTES)).unwrap_or(ranks).clamp(1, ranks);
    let teams = (ranks / needed).min(sizes.len()).max(1);
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(sizes[i]), i));
    let mut lists = vec![Vec::new(); teams];
    let mut load = std::collections::BTreeSet::from_iter((0..teams).map(|t| (0u64, t)));
    for i in order {
        let (bytes, team) = load.pop_first().expect("one team at least");
        lists[team].push(i);
        // Opening a file costs something, however small it is.
        load.insert((bytes + sizes[i] + 1, team));
    }
    lists.iter_mut().for_each(|list| list.sort_unstable());
    lists.sort();
    lists
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_file_decides_the_size_of_the_teams() {
        assert_eq!(assign(&[10; 5], 2), [vec![0, 2, 4], vec![1, 3]]);
        assert_eq!(assign(&[40 * RANK_BYTES, 5, 5], 8), [vec![0, 1, 2]]);
        assert_eq!(assign(&[2 * RANK_BYTES, RANK_BYTES, RANK_BYTES], 5), [vec![0], vec![1, 2]]);
        assert_eq!(assign(&[7], 4), [vec![0]]);
        assert_eq!(assign(&[], 3), [Vec::<usize>::new()]);
    }

    #[test]
    fn every_file_has_one_team_and_loads_are_even() {
        let sizes: Vec<u64> = (0..1000).map(|i| 1 + i * i % 9973).collect();
        let lists = assign(&sizes, 7);
        let mut all = lists.concat();
        all.sort_unstable();
        assert_eq!(all, (0..1000).collect::<Vec<_>>());
        assert_eq!(lists[0][0], 0);
        let loads: Vec<u64> = lists.iter().map(|list| list.iter().map(|&i| sizes[i]).sum()).collect();
        let (least, most) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
        assert!((most - least) * 100 < *least, "{loads:?}");
    }
}
