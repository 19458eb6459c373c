//! Data made here instead of read: [`UrbanFlow`], turbulent wind over a city with a tracer.
//!
//! `grid` lays a slab out in memory, `lattice` collides, `flow` streams and bounces, `tracer` disperses, `terrain`
//! builds the city, `weather` drives the wind, `urban_flow` puts physical units, forcing and halos around them.

mod flow;
mod grid;
mod lattice;
mod terrain;
mod tracer;
mod urban_flow;
mod weather;

pub use terrain::Terrain;
pub use urban_flow::{Cost, Cut, SHARED, Scales, Snapshot, UrbanFlow, VARIABLES, VariableSpec};
