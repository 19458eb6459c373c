//! The binary as a user meets it: command line, refusals, and whole toy jobs under mpirun.

mod ablations;
mod append;
mod archives;
mod command_line;
#[path = "../common/mod.rs"]
mod common;
mod device;
mod evaluate;
mod exit_codes;
mod flat;
mod generate;
mod generators;
mod inputs;
mod job_file;
mod kill;
mod learned;
mod observer;
mod posterior;
mod preview;
mod principal;
mod process;
mod quarantine;
mod rate;
mod readers;
mod regions;
mod scattering;
mod space;
mod sparse;
mod stack;
mod tiling;
mod toy;
mod train;
mod whole_job;
mod windows;
mod zoo;
