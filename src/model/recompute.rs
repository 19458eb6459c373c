//! Which stretches of a network are computed again when derivatives come to them: activation recomputation (Chen et al. 2016).
//!
//! ```text
//! x ──part──► a ──part──► b ──part──► z      kept: x, a, b; what is between is made again, part by part, from the last
//! ```
//!
//! Invariants: 1. parts follow each other and hold every node; 2. of what is made inside a part only its last value is read
//! outside; 3. a convolution and what its kernel does beside it (`forward.rs`) are in one part.

use std::ops::Range;
use std::rc::Rc;

use super::cost;
use super::forward::Tail;
use super::graph::{Graph, Program};

/// A program in parts.
#[derive(Clone, Debug)]
pub struct Parts {
    program: Rc<Program>,
    parts: Vec<Part>,
}

/// Some nodes, one behind the other.
#[derive(Clone, Debug)]
pub struct Part {
    /// Which.
    pub nodes: Range<usize>,
    /// Values read that are made before, in order.
    pub reads: Vec<usize>,
    /// Parameters read, by place.
    pub places: Vec<usize>,
    /// Whether they are computed again.
    pub again: bool,
}

impl Parts {
    /// Nothing is computed again.
    pub fn whole(program: &Program) -> Self {
        Self::at(program, &[program.nodes.len()], false)
    }

    /// Encoder and decoder in the parts by which a training step takes nearly the least memory, and of these only those
    /// computed again that matter. The last is not: the sweep begins there.
    pub fn of(graph: &Graph) -> [Self; 2] {
        /// Each try allows a part to keep so much of what the one before allowed.
        const FINER: f64 = 0.75;
        const TRIED: i32 = 24;
        let kept = [&graph.encoder, &graph.decoder].map(cost::kept);
        let all = kept.iter().flatten().sum::<u64>() as f64;
        let with = |limit: u64| {
            [(&graph.encoder, &kept[0]), (&graph.decoder, &kept[1])]
                .map(|(program, kept)| Self::at(program, &cut(program, kept, limit), true))
        };
        let tried = (0..TRIED).map(|finer| {
            let mut parts = with((all * FINER.powi(finer)) as u64);
            if let Some(last) = parts[1].parts.last_mut() {
                last.again = false;
            }
            parts
        });
        let mut best = tried.min_by_key(cost::tape_numbers).expect("at least one is tried");
        keep_cheap(&mut best);
        best
    }

    /// The program.
    pub fn program(&self) -> &Rc<Program> {
        &self.program
    }

    /// In order.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Parts that end behind so many nodes; `again`: those of several nodes are computed again.
    fn at(program: &Program, ends: &[usize], again: bool) -> Self {
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let part = |(start, &end): (usize, &usize)| {
            let nodes = &program.nodes[start..end];
            let reads = nodes.iter().flat_map(|node| &node.inputs).copied().filter(|&value| value <= start);
            let places = nodes.iter().flat_map(|node| node.op.places());
            let [reads, places] = [sorted(reads), sorted(places)];
            Part { nodes: start..end, reads, places, again: again && nodes.len() > 1 }
        };
        let parts = starts.zip(ends).map(part).collect();
        Self { program: Rc::new(program.clone()), parts }
    }
}

/// Lets parts keep what is inside, those first that would cost most operations for each number, as long as memory hardly grows.
fn keep_cheap(both: &mut [Parts; 2]) {
    /// How much it may grow.
    const SLACK: f64 = 1.05;
    let most = (cost::tape_numbers(both) as f64 * SLACK) as u64;
    let mut priced = Vec::new();
    for (half, parts) in both.iter().enumerate() {
        let (program, kept) = (parts.program(), cost::kept(parts.program()));
        for (i, part) in parts.parts.iter().enumerate().filter(|(_, part)| part.again) {
            let inside: u64 = kept[part.nodes.start..part.nodes.end - 1].iter().sum();
            let flops: u64 = part.nodes.clone().map(|node| cost::node_flops(program, node)).sum();
            priced.push((flops as f64 / inside.max(1) as f64, half, i));
        }
    }
    priced.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (_, half, i) in priced {
        both[half].parts[i].again = false;
        if cost::tape_numbers(both) > most {
            both[half].parts[i].again = true;
        }
    }
}

fn sorted(numbers: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut numbers: Vec<usize> = numbers.collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// Ends of parts that keep at most `limit` numbers inside, if they can be so small, with the fewest numbers between them.
/// `kept`: of what a recording tape keeps, what is due to each node.
fn cut(program: &Program, kept: &[u64], limit: u64) -> Vec<usize> {
    let (n, last) = (program.nodes.len(), program.last_readers());
    let mut is_end = vec![false; n + 1];
    let mut next = 0;
    while next < n {
        next += 1 + Tail::of(program, &last, next).nodes;
        is_end[next] = true;
    }
    // Fewest numbers between the parts up to each end, and where the last of them begins.
    let mut best: Vec<Option<(u64, usize)>> = vec![None; n + 1];
    best[0] = Some((0, 0));
    for start in 0..n {
        let Some((so_far, _)) = best[start] else { continue };
        // Of what is made inside: numbers kept, and the last node that reads it.
        let (mut inside, mut reach, mut first) = (0, 0, true);
        for end in start + 1..=n {
            if is_end[end] && reach < end && (first || inside <= limit) {
                let cost = so_far + program.shape(end).len() as u64;
                if best[end].is_none_or(|(other, _)| cost < other) {
                    best[end] = Some((cost, start));
                }
            }
            first &= !is_end[end];
            inside += kept[end - 1];
            reach = reach.max(last[end].unwrap_or(0));
            if !first && inside > limit {
                break;
            }
        }
    }
    let mut ends = vec![n];
    while let Some((_, start)) = best[ends[ends.len() - 1]].filter(|&(_, start)| start > 0) {
        ends.push(start);
    }
    ends.reverse();
    ends
}
