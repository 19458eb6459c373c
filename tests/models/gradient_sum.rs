//! Sums of gradients over shards.

use std::ops::Range;

use sci_hpc::backend::gpu::{Emulated, Gpu, Math};
use sci_hpc::backend::{Backend, Cpu};
use sci_hpc::model::ParamTable;
use sci_hpc::train::{Adding, GradientSum};
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

/// The sum over shards on a device, of which the second is empty: all gradients there at once, or each when it is waited for,
/// or flat.
fn sum<B: Backend<Real = f32>>(backend: &B, shards: usize, how: &str) -> Vec<f32> {
    let (world, table) = (World::serial(), table());
    let adding = Adding { shards, bucket_bytes: 32, fast: false };
    let mut sum = GradientSum::new(&world, &table, (backend, how == "at once"), adding);
    for shard in (0..shards).map(|shard| (shard != 1).then_some(shard)) {
        let values = |range: Range<usize>| shard.map(|shard| range.map(|i| value(shard, i)).collect::<Vec<_>>());
        match values(0..16).filter(|_| how == "flat") {
            Some(flat) => sum.take_all(&backend.upload(&flat)),
            None => {
                for (place, values) in (0..4).rev().filter_map(|place| Some((place, values(table.range(place))?))) {
                    let backend = backend.clone();
                    sum.take(place, Box::new(move || backend.upload(&values)));
                }
            }
        }
        sum.end_shard();
    }
    backend.download(&sum.wait())
}

#[test]
fn sum_follows_the_tree_and_an_empty_shard_counts_zero() {
    let (cpu, gpu) = (Cpu::<f32>::new(), Gpu::<_, f32>::new(Emulated::default(), Math::Exact));
    for shards in [1, 2, 3, 5, 8] {
        let want = |i: usize| {
            let leaf = |s: usize| if s == 1 { 0.0 } else { value(s, i) };
            tree::finish(0..shards, &mut |r| (r.len() == 1).then(|| leaf(r.start)), &|a: f32, b| a + b)
        };
        let want: Vec<f32> = (0..16).map(want).collect();
        for how in ["at once", "awaited", "flat"] {
            assert_eq!(sum(&cpu, shards, how), want, "{shards} shards {how}");
            assert_eq!(sum(&gpu, shards, how), want, "{shards} shards {how}, emulated");
        }
    }
}
