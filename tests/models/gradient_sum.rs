//! Sums of gradients over shards.

use sci_hpc::model::ParamTable;
use sci_hpc::train::GradientSum;
use sci_hpc::world::{World, tree};

fn table() -> ParamTable {
    let mut table = ParamTable::default();
    for (i, len) in [5, 1, 7, 3].into_iter().enumerate() {
        table.push(format!("p{i}"), vec![len]);
    }
    table
}

fn value(shard: usize, i: usize) -> f32 {
    ((shard * 31 + i) as f32 + 0.37).sin() * 10f32.powi(((shard + i) % 6) as i32)
}

#[test]
fn sum_follows_the_tree_and_an_empty_shard_counts_zero() {
    let (world, table) = (World::serial(), table());
    for shards in [1, 2, 3, 5, 8] {
        let mut sum = GradientSum::new(&world, &table, shards, (32, false));
        for shard in 0..shards {
            if shard != 1 {
                for place in (0..4).rev() {
                    let start = table.range(place).start;
                    sum.take(place, move |g| {
                        g.iter_mut().enumerate().for_each(|(i, g)| *g = value(shard, start + i));
                    });
                }
            }
            sum.end_shard();
        }
        let want = |i: usize| {
            let leaf = |s: usize| if s == 1 { 0.0 } else { value(s, i) };
            tree::finish(0..shards, &mut |r| (r.len() == 1).then(|| leaf(r.start)), &|a: f32, b| a + b)
        };
        let want: Vec<f32> = (0..16).map(want).collect();
        assert_eq!(sum.wait(), want, "{shards} shards");
    }
}
