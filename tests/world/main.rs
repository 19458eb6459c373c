//! Collectives under a real mpirun: each test starts this very binary again on 1, 2, 3 and 4 ranks and compares what
//! the ranks print.

#[path = "../common/mod.rs"]
mod common;

use common::mpirun::{assert_same_at_every_rank_count, under_mpirun};
use std::ops::Range;

use sci_hpc::world::{Host, Memory, World, shard, tree};

fn chunk(i: usize, len: usize) -> impl Iterator<Item = f64> {
    (0..len).map(move |j| ((i * 31 + j) as f64 * 0.7 + 0.1).sin() * 10f64.powi((i as i32 * 5 + j as i32) % 9 - 4))
}

#[test]
fn tree_sum_has_the_same_bits_at_every_rank_count() {
    assert_same_at_every_rank_count("tree_sum_on_ranks");
}

#[test]
#[ignore = "started by the test above under mpirun"]
fn tree_sum_on_ranks() {
    let world = World::start().expect("first start");
    let (chunks, len) = (11, 5);
    let owned = shard::range(chunks, world.size(), world.rank());
    let mine: Vec<Vec<f64>> = owned.clone().map(|i| chunk(i, len).collect()).collect();
    let sum = world.tree_sum(chunks, &owned, &mine, len);
    println!("bits: {:?}", sum.iter().map(|v| v.to_bits()).collect::<Vec<_>>());
}

#[test]
fn started_sum_has_the_same_bits_at_every_rank_count() {
    assert_same_at_every_rank_count("started_sum_on_ranks");
}

#[test]
#[ignore = "started by the test above under mpirun"]
fn started_sum_on_ranks() {
    let world = World::start().expect("first start");
    // 1003 values: not a multiple of any rank count; two sums under way at once.
    let (chunks, len) = (8, 1003);
    let owned = shard::range(chunks, world.size(), world.rank());
    let vectors = |shift: usize| -> Vec<Vec<f32>> {
        owned.clone().map(|i| chunk(i + shift, len).map(|v| v as f32).collect()).collect()
    };
    let start = |shift| {
        let nodes = tree::reduce_owned(chunks, &owned, &vectors(shift));
        world.start_sum(&Host, (chunks, len), nodes, false)
    };
    let (mut first, mut second) = (start(0), start(100));
    first.begin();
    second.begin();
    // Ranks that look at different times, and at the second sum first, still call in the same order.
    (0..1000 * world.rank()).for_each(|_| {
        second.poll();
        first.poll();
    });
    first.share();
    second.share();
    if world.size() == 1 {
        let alone = world.start_sum(&Unreached, (chunks, len), tree::reduce_owned(chunks, &owned, &vectors(0)), false);
        println!("alone: {}", alone.wait().len());
    }
    let digest = |v: Vec<f32>| v.iter().fold(0u64, |h, x| h.rotate_left(5) ^ u64::from(x.to_bits()));
    println!("bits: {} {}", digest(first.wait()), digest(second.wait()));
}

/// Memory that MPI does not reach: a rank alone never asks where it lies.
#[derive(Clone)]
struct Unreached;

impl Memory for Unreached {
    type Vector = Vec<f32>;
    type Mark = ();

    fn blank(&self, _: usize) -> Vec<f32> {
        unreachable!("nothing is received")
    }
    fn part(&self, vector: &Vec<f32>, range: Range<usize>) -> Vec<f32> {
        Host.part(vector, range)
    }
    fn joined(&self, parts: &[&Vec<f32>]) -> Vec<f32> {
        Host.joined(parts)
    }
    fn add(&self, sum: &mut Vec<f32>, other: &Vec<f32>) {
        Host.add(sum, other);
    }
    fn address(&self, _: &Vec<f32>) -> *const f32 {
        unreachable!("nothing is sent")
    }
    fn address_mut(&self, _: &mut Vec<f32>) -> *mut f32 {
        unreachable!("nothing is received")
    }
    fn mark(&self, _: &Vec<f32>) {}
    fn reach(&self, (): ()) {}
}

#[test]
fn collectives_move_what_they_say() {
    for ranks in [1, 2, 3] {
        under_mpirun("collectives_on_ranks", ranks);
    }
}

#[test]
#[ignore = "started by the test above under mpirun"]
fn collectives_on_ranks() {
    let world = World::start().expect("first start");
    let (rank, size) = (world.rank(), world.size());
    assert_eq!(world.broadcast_bytes(vec![7, rank as u8, 9])[..], [7, 0, 9]);
    let mut values = [rank as f64, 1.0];
    world.sum(&mut values);
    assert_eq!(values, [(size * (size - 1) / 2) as f64, size as f64]);
    assert!(world.any(rank == size - 1) && !world.any(false));
    let varied: Vec<u32> = vec![rank as u32; rank + 1];
    let all: Vec<u32> = (0..size as u32).flat_map(|r| vec![r; r as usize + 1]).collect();
    assert_eq!(world.all_gather_varied(&varied), all);
    let before = (0..rank as u64).map(|r| 10 + r).sum();
    let total = (0..size as u64).map(|r| 10 + r).sum();
    assert_eq!(world.exclusive_sum(10 + rank as u64), (before, total));
    if let Some(parts) = world.gather_bytes(&vec![rank as u8; rank]) {
        assert_eq!(parts, (0..size).map(|r| vec![r as u8; r]).collect::<Vec<_>>());
    }
    let mut received = [0f32; 2];
    world.exchange(Some((rank + 1) % size), &[rank as f32, 0.5], Some((rank + size - 1) % size), &mut received);
    assert_eq!(received, [((rank + size - 1) % size) as f32, 0.5]);
}

#[test]
fn ranges_cover_all_items_once_and_agree_with_owner() {
    for n in [0, 1, 2, 7, 8, 100] {
        for parts in [1, 2, 3, 8, 11] {
            let mut next = 0;
            for part in 0..parts {
                let r = shard::range(n, parts, part);
                assert_eq!(r.start, next);
                next = r.end;
                for item in r {
                    assert_eq!(shard::owner(n, parts, item), part);
                }
            }
            assert_eq!(next, n);
        }
    }
}

#[test]
fn sum_has_the_same_bits_for_every_number_of_owners() {
    for n in [1usize, 2, 3, 5, 8, 13, 64] {
        let chunk: Vec<f32> = (0..n).map(|i| (1.0 / (i as f32 + 0.37)).sin() * 10f32.powi(i as i32 % 7)).collect();
        let reference = tree::finish(0..n, &mut |r| (r.len() == 1).then(|| chunk[r.start]), &|a, b| a + b);
        for parts in 1..=n {
            let mut known = std::collections::HashMap::new();
            for part in 0..parts {
                let owned = shard::range(n, parts, part);
                let vectors: Vec<Vec<f32>> = owned.clone().map(|i| vec![chunk[i]]).collect();
                for (node, v) in tree::nodes(n, &owned).into_iter().zip(tree::reduce_owned(n, &owned, &vectors)) {
                    known.insert((node.start, node.end), v[0]);
                }
            }
            let total = tree::finish(0..n, &mut |r| known.get(&(r.start, r.end)).copied(), &|a, b| a + b);
            assert_eq!(total.to_bits(), reference.to_bits(), "n {n}, parts {parts}");
        }
    }
}
