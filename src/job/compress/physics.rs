//! What the tiles of a file are to physics, on some of their steps.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::archive::{Box4, Coordinate, ElementType, Source, Values, Variable};
use crate::report::Figure;
use crate::report::figure::{Lines, Series};
use crate::report::physics::{Pair, Physics, Spectrum, Velocity};
use crate::world::World;

use super::super::coding::Tile;
use super::super::{Context, JobError, groups, tiling};
use super::ChosenGroup;

/// One tile in so many is looked at.
const ONE_IN: usize = 8;
/// Tiles of a group at most.
const TILES: usize = 8;
/// Steps of a tile at most.
const STEPS: usize = 4;
/// Values of a variable in a tile at most; of larger steps the middle.
const VALUES: usize = 1 << 21;
/// Standard names of the components of a velocity along z, y, x (CF).
const STANDARD_NAMES: [&[&str]; 3] = [
    &["upward_air_velocity", "upward_sea_water_velocity"],
    &["northward_wind", "y_wind", "northward_sea_water_velocity", "sea_water_y_velocity"],
    &["eastward_wind", "x_wind", "eastward_sea_water_velocity", "sea_water_x_velocity"],
];
/// Their usual names.
const NAMES: [&str; 3] = ["w", "v", "u"];

/// What came of a variable on a tile and one of its steps.
type Piece = ((usize, usize, String), Found);

/// What came of a variable.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Found {
    pub physics: Physics,
    pub spectrum: Spectrum,
}

/// Compares the middle of the tiles with the input, the same ones whatever the ranks; by variable. Collective.
pub(super) fn compare(
    world: &World,
    source: &Source,
    groups: &[ChosenGroup],
) -> Result<BTreeMap<String, Found>, JobError> {
    // 1. This rank's steps, by (tile, step, variable).
    let mut mine: Vec<Piece> = Vec::new();
    for unit in units(groups) {
        let boxes = &unit[0].boxes;
        for place in sampled(unit[0]).into_iter().filter(|place| unit[0].owned.contains(place)) {
            let looked = looked_at(&boxes[place]);
            let pairs = pairs(source, &unit, place, &looked)?;
            let velocity = components(&pairs.iter().map(|pair| pair.variable).collect::<Vec<_>>());
            let first = velocity.and_then(|of| of.into_iter().flatten().next()).map(|v| pairs[v].variable);
            // Without coordinates there are no rates.
            let places = first.and_then(|variable| Some((variable.shape, source.coordinates(variable).ok()?)));
            let look = |i: usize| -> Vec<Piece> {
                let flow = velocity.zip(places.as_ref()).and_then(|(of, (shape, coordinates))| {
                    let of = of.map(|v| v.and_then(|v| pairs[v].steps[i].as_ref()));
                    rates(of, coordinates, (*shape, &looked[i]))
                });
                let found = |(v, Compared { variable, span, steps }): (usize, &Compared)| {
                    let pair = steps[i].as_ref()?;
                    let part = velocity.is_some_and(|of| of.contains(&Some(v)));
                    let spectrum = Spectrum::of(pair);
                    let physics = Physics { velocity: flow.filter(|_| part), ..Physics::of(pair, &spectrum, *span) };
                    Some(((place, i, variable.name.clone()), Found { physics, spectrum }))
                };
                pairs.iter().enumerate().filter_map(found).collect()
            };
            mine.extend((0..looked.len()).flat_map(look));
        }
    }
    // 2. Joined in one order.
    let told = world.gather_bytes(&serde_json::to_vec(&mine).expect("plain data"));
    let joined = told.map(|all| {
        let read = |bytes: Vec<u8>| serde_json::from_slice::<Vec<Piece>>(&bytes).expect("written by a rank");
        let mut all: Vec<Piece> = all.into_iter().flat_map(read).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        let mut joined: BTreeMap<String, Found> = BTreeMap::new();
        for ((.., name), found) in all {
            let sum = joined.entry(name).or_default();
            sum.physics.join(&found.physics);
            sum.spectrum.join(&found.spectrum);
        }
        joined
    });
    Ok(world.broadcast(joined.as_ref()))
}

/// The tiles of a group that are looked at, all of one shape in space.
fn sampled(group: &ChosenGroup) -> Vec<usize> {
    let whole = |&place: &usize| group.boxes[place].len[1..] == group.boxes[0].len[1..];
    let all: Vec<usize> = (0..group.boxes.len()).filter(whole).collect();
    let count = (all.len() / ONE_IN).clamp(all.len().min(1), TILES);
    (0..count).map(|i| all[(2 * i + 1) * all.len() / (2 * count)]).collect()
}

/// Bytes that looking at a tile of variables of these types takes, `together` of them at a time: as it is read and decoded,
/// both as f64, and the sums over the windows of a step (measured).
pub(in super::super) fn looking_bytes(tile: &Box4, elements: &[ElementType], together: usize) -> u64 {
    const SUMS: usize = 40;
    let looked = looked_at(tile);
    let values: usize = looked.iter().map(Box4::count).sum();
    let step = looked.first().map_or(0, Box4::count);
    let stored = elements.iter().map(|e| e.size()).sum::<usize>() * tile.count();
    (2 * stored + 16 * values * elements.len().max(together) + SUMS * step) as u64
}

/// What of a tile is looked at: some of its steps, of large ones the middle.
fn looked_at(tile: &Box4) -> Vec<Box4> {
    let mut cells = *tile;
    while cells.len[1..].iter().product::<usize>() > VALUES {
        let longest = (1..4).max_by_key(|&axis| cells.len[axis]).expect("three axes");
        let half = cells.len[longest] / 2;
        cells.start[longest] += (cells.len[longest] - half) / 2;
        cells.len[longest] = half;
    }
    let step = cells.len[1..].iter().product::<usize>().max(1);
    let count = tile.len[0].min(STEPS).min((VALUES / step).max(1));
    let of = |i: usize| {
        let mut one = cells;
        (one.start[0], one.len[0]) = (tile.start[0] + (2 * i + 1) * tile.len[0] / (2 * count), 1);
        one
    };
    (0..count).map(of).collect()
}

/// How many variables of these names are looked at together at most: the components of a velocity.
pub(in super::super) fn together(names: &[String]) -> usize {
    let usual = |name: &&&str| names.iter().any(|n| n.rsplit('/').next().is_some_and(|n| n.eq_ignore_ascii_case(name)));
    NAMES.iter().filter(usual).count().max(1)
}

/// Groups that are looked at together: those of the components of a velocity, which are cut alike; else each alone.
fn units<'g, 'v>(groups: &'g [ChosenGroup<'v>]) -> Vec<Vec<&'g ChosenGroup<'v>>> {
    let mut units: Vec<Vec<&ChosenGroup>> = Vec::new();
    for (i, group) in groups.iter().enumerate() {
        let alike: Vec<&ChosenGroup> = groups.iter().filter(|other| other.boxes == group.boxes).collect();
        let variables: Vec<&Variable> = alike.iter().flat_map(|group| group.variables.iter().copied()).collect();
        let flow: Vec<&str> =
            components(&variables).into_iter().flatten().flatten().map(|v| &*variables[v].name).collect();
        let part = |group: &ChosenGroup| group.variables.iter().any(|v| flow.contains(&&*v.name));
        if !part(group) {
            units.push(vec![group]);
        } else if !groups[..i].iter().any(|before| before.boxes == group.boxes && part(before)) {
            units.push(alike.into_iter().filter(|group| part(group)).collect());
        }
    }
    units
}

/// A variable on some steps of a tile.
struct Compared<'g> {
    variable: &'g Variable,
    /// max - min in the file.
    span: f64,
    /// What was read and what comes back; `None` where there is no value.
    steps: Vec<Option<Pair>>,
}

/// Every variable of some groups.
fn pairs<'g>(
    source: &Source,
    groups: &[&'g ChosenGroup],
    place: usize,
    looked: &[Box4],
) -> Result<Vec<Compared<'g>>, JobError> {
    let mut found = Vec::new();
    for group in groups {
        let region = &group.boxes[place];
        let tile = Tile::read(source, &group.plan, region)?;
        for (v, &variable) in group.variables.iter().enumerate() {
            let (stored, back) = tile.pair(v, &group.tiles[place - group.owned.start])?;
            let valid = variable.valid(stored);
            let pair = |part: &Box4| {
                let numbers = |values: &Values| -> Vec<f64> {
                    tiling::places(region, part).map(|p| variable.unpack(values.get_f64(p))).collect()
                };
                let valid = valid.as_ref().map(|valid| tiling::places(region, part).map(|p| valid[p]).collect());
                Pair::new([part.len[1], part.len[2], part.len[3]], [numbers(&stored.values), numbers(&back)], valid)
            };
            let span = group.plan.variables[v].span;
            found.push(Compared { variable, span, steps: looked.par_iter().map(pair).collect() });
        }
    }
    Ok(found)
}

/// Which of the variables are components of a velocity, along z, y, x.
fn components(variables: &[&Variable]) -> Option<[Option<usize>; 3]> {
    let standard = |axis: usize| {
        let named =
            |v: &&Variable| v.attributes.text("standard_name").is_some_and(|n| STANDARD_NAMES[axis].contains(&n));
        variables.iter().position(named)
    };
    let usual = |axis: usize| {
        let leaf = |v: &&Variable| v.name.rsplit('/').next().is_some_and(|n| n.eq_ignore_ascii_case(NAMES[axis]));
        variables.iter().position(leaf)
    };
    let found = [0, 1, 2].map(|axis| standard(axis).or_else(|| usual(axis)));
    // In one unit and at the same places, which on a staggered grid they are not.
    let kind = |v: Option<usize>| v.map(|v| (&variables[v].units, &variables[v].dims));
    let known: Vec<_> = found.into_iter().filter_map(kind).collect();
    (known.len() >= 2 && known.windows(2).all(|pair| pair[0] == pair[1])).then_some(found)
}

/// The rates of a velocity in a box of a field, if its axes are measured in one unit.
fn rates(
    components: [Option<&Pair>; 3],
    coordinates: &[Coordinate; 4],
    (shape, region): ([usize; 4], &Box4),
) -> Option<Velocity> {
    // A field of one cell along an axis knows no rates along it, and needs no component.
    let along = |axis: usize| components[axis].filter(|_| shape[1 + axis] > 1);
    let unit = |axis: usize| coordinates[1 + axis].attributes.text("units").unwrap_or_default();
    let used: Vec<usize> = (0..3).filter(|&axis| along(axis).is_some()).collect();
    let places = |axis: usize| &coordinates[1 + axis].values[region.start[1 + axis]..region.end()[1 + axis]];
    let one_unit = used.windows(2).all(|pair| unit(pair[0]) == unit(pair[1]));
    // All axes with extent need their component: else something of the gradient is missing.
    let whole = (0..3).all(|axis| shape[1 + axis] == 1 || along(axis).is_some());
    if one_unit && whole {
        Velocity::of([along(0), along(1), along(2)], [places(0), places(1), places(2)])
    } else {
        None
    }
}

/// Keeps a figure of the energy by wavenumber.
pub(super) fn figure(ctx: &Context, source: &Source, variable: &Variable, spectrum: &Spectrum) -> Result<(), JobError> {
    let curve = |name: &str, of: fn(&[f64; 3]) -> f64| {
        let points = spectrum.shells.iter().enumerate().skip(1).map(|(k, shell)| (k as f64, of(shell))).collect();
        Series { name: name.into(), points, markers: false }
    };
    let lines = Lines {
        title: format!("Spectrum of {}", variable.name),
        caption:
            "Variance by wavenumber on some steps of the first file: waves that fit into the longest axis of a tile. \
                  Where the error reaches the field, the archive has its energy but not its waves."
                .into(),
        x_label: "wavenumber".into(),
        y_label: match &*variable.units {
            "" | "1" => "variance".into(),
            units => format!("variance, ({units})^2"),
        },
        x_log: true,
        y_log: true,
        series: vec![
            curve("original", |shell| shell[0]),
            curve("from the archive", |shell| shell[1]),
            curve("error", |[x, y, both]| x + y - 2.0 * both),
        ],
    };
    if lines.series[0].points.len() < 2 {
        return Ok(());
    }
    let name = groups::file_name(&ctx.config.data, source, &variable.name)?;
    Ok(ctx.report.figure(&format!("33-spectrum-{name}"), &Figure::Lines(lines))?)
}
