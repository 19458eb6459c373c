//! The binary as a user meets it: command line, refusals, and whole toy jobs under mpirun.

mod archives;
mod command_line;
mod exit_codes;
mod flat;
mod generate;
mod inputs;
mod kill;
mod learned;
mod process;
mod quarantine;
mod readers;
mod space;
mod toy;
mod train;
mod whole_job;
mod zoo;
