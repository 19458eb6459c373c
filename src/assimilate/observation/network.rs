//! A set of observations over the state: stencils and error variances, spread over ranks like the rows they start in.

use super::super::background::{Control, Ensemble};
use super::super::cost::{Design, add_scaled};
use super::super::layout::Layout;
use crate::world::World;

/// H and R. Each observation is kept by the rank that owns the first row of its stencil.
#[derive(Clone, Debug)]
pub struct Network {
    layout: Layout,
    total: usize,
    /// Per owned chunk.
    chunks: Vec<Vec<Observation>>,
}

#[derive(Clone, Debug)]
struct Observation {
    /// Position in the list the network was made from.
    index: usize,
    /// Rows of the state and weights.
    stencil: Vec<(usize, f64)>,
    variance: f64,
}

impl Network {
    /// Observes the single values `rows` (any order; all ranks give the same), all with error `variance`.
    pub fn of_rows(layout: &Layout, rows: &[usize], variance: f64) -> Self {
        Self::new(layout, rows.iter().map(|row| (vec![(*row, 1.0)], variance)))
    }

    /// Observes combinations of rows (stencil, error variance); all ranks give the same list.
    pub fn new(layout: &Layout, list: impl Iterator<Item = (Vec<(usize, f64)>, f64)>) -> Self {
        let owned = layout.owned();
        let mut chunks = vec![Vec::new(); owned.len()];
        let mut total = 0;
        for (index, (stencil, variance)) in list.enumerate() {
            assert!(!stencil.is_empty() && variance > 0.0, "observation {index} has cells and a positive variance");
            let chunk = layout.chunk_of(stencil[0].0);
            total += 1;
            if owned.contains(&chunk) {
                chunks[chunk - owned.start].push(Observation { index, stencil, variance });
            }
        }
        Self { layout: layout.clone(), total, chunks }
    }

    /// The observations whose first row satisfies `keep`, which is asked for rows of this rank. Collective.
    pub fn retain(&self, world: &World, keep: impl Fn(usize) -> bool) -> Self {
        let kept = |chunk: &Vec<Observation>| chunk.iter().filter(|o| keep(o.stencil[0].0)).cloned().collect();
        let chunks: Vec<Vec<Observation>> = self.chunks.iter().map(kept).collect();
        let mut total = [chunks.iter().map(Vec::len).sum::<usize>() as u64];
        world.sum(&mut total);
        let total = usize::try_from(total[0]).expect("64-bit address space");
        Self { layout: self.layout.clone(), total, chunks }
    }

    /// Observations of all ranks.
    pub fn len(&self) -> usize {
        self.total
    }

    /// Whether nothing is observed.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// Positions of this rank's observations in the list the network was made from, in chunk order.
    pub fn indices(&self) -> Vec<usize> {
        self.chunks.iter().flatten().map(|o| o.index).collect()
    }

    /// H x at this rank's observations, of a field given in this rank's rows. Collective.
    pub fn observe(&self, world: &World, owned_values: &[f64]) -> Vec<f64> {
        let rows = self.layout.owned_rows();
        let remote = self.fetch(world, &|row| std::slice::from_ref(&owned_values[row - rows.start]), 1);
        let value = |row: usize| {
            if rows.contains(&row) { owned_values[row - rows.start] } else { remote.row(row)[0] }
        };
        let observe = |o: &Observation| o.stencil.iter().map(|(row, weight)| weight * value(*row)).sum();
        self.chunks.iter().flatten().map(observe).collect()
    }

    /// The rows G = H V T and R⁻¹. Collective; made once for all states observed by this network.
    pub fn design(&self, world: &World, ensemble: &Ensemble, control: &Control) -> Design {
        let observed = control.observed(ensemble);
        let rows = self.layout.owned_rows();
        let remote = self.fetch(world, &|row| observed.row(row), observed.columns());
        let combine = |o: &Observation| {
            let mut sum = vec![0.0; observed.columns()];
            for (row, weight) in &o.stencil {
                let values = if rows.contains(row) { observed.row(*row) } else { remote.row(*row) };
                add_scaled(&mut sum, *weight, values);
            }
            control.finish_row(sum)
        };
        let variances = self.chunks.iter().map(|chunk| chunk.iter().map(|o| o.variance).collect()).collect();
        let matrices = self.chunks.iter().map(|chunk| chunk.iter().flat_map(combine).collect()).collect();
        Design::new(self.layout.clone(), control.dimension(ensemble), self.total, (matrices, variances))
    }

    /// Rows of a distributed matrix that stencils of this rank need from others.
    fn fetch<'a>(&self, world: &World, own: &dyn Fn(usize) -> &'a [f64], columns: usize) -> Remote {
        let mine = self.layout.owned_rows();
        let cells = self.chunks.iter().flatten().flat_map(|o| o.stencil.iter().map(|(row, _)| *row));
        let mut wanted: Vec<usize> = cells.filter(|row| !mine.contains(row)).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let counts = world.all_gather(&[wanted.len() as u64]);
        if counts.iter().all(|c| *c == 0) {
            return Remote { rows: wanted, columns, values: Vec::new() };
        }
        let counts: Vec<usize> = counts.iter().map(|c| usize::try_from(*c).expect("64-bit address space")).collect();
        let flat: Vec<u64> = wanted.iter().map(|row| *row as u64).collect();
        let requests = Requests { counts, rows: world.all_gather_varied(&flat) };
        let values = self.answer(world, own, (&requests, columns));
        Remote { rows: wanted, columns, values }
    }

    /// One exchange per distance between ranks: send what the rank above asked for, receive from the rank below. As
    /// rows and ranks are both ascending, answers arrive per owner; they are put back into the order of the request.
    fn answer<'a>(
        &self,
        world: &World,
        own: &dyn Fn(usize) -> &'a [f64],
        (requests, columns): (&Requests, usize),
    ) -> Vec<f64> {
        let (ranks, rank) = (world.size(), world.rank());
        let owner = |row: usize| self.layout.owner(self.layout.chunk_of(row));
        let mine = requests.of(rank);
        let mut values = vec![0.0; mine.len() * columns];
        for distance in 1..ranks {
            let (to, from) = ((rank + distance) % ranks, (rank + ranks - distance) % ranks);
            let asked: Vec<usize> = requests.of(to).into_iter().filter(|row| owner(*row) == rank).collect();
            let send: Vec<f64> = asked.iter().flat_map(|row| own(*row).iter().copied()).collect();
            let at: Vec<usize> = (0..mine.len()).filter(|&i| owner(mine[i]) == from).collect();
            let mut receive = vec![0.0; at.len() * columns];
            let (to, from) = ((!send.is_empty()).then_some(to), (!receive.is_empty()).then_some(from));
            world.exchange(to, &send, from, &mut receive);
            for (i, row) in at.into_iter().zip(receive.chunks(columns)) {
                values[i * columns..(i + 1) * columns].copy_from_slice(row);
            }
        }
        values
    }
}

/// Rows every rank asks for.
struct Requests {
    counts: Vec<usize>,
    rows: Vec<u64>,
}

impl Requests {
    fn of(&self, rank: usize) -> Vec<usize> {
        let start: usize = self.counts[..rank].iter().sum();
        let rows = &self.rows[start..start + self.counts[rank]];
        rows.iter().map(|row| usize::try_from(*row).expect("64-bit address space")).collect()
    }
}

/// Rows held by other ranks, ascending.
struct Remote {
    rows: Vec<usize>,
    columns: usize,
    values: Vec<f64>,
}

impl Remote {
    fn row(&self, row: usize) -> &[f64] {
        let at = self.rows.binary_search(&row).expect("every foreign row of a stencil was fetched");
        &self.values[at * self.columns..(at + 1) * self.columns]
    }
}
