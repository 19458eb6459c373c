//! What runs without a job: in one process, without MPI and without a GPU.

use std::io::Write;

use serde_json::json;

use crate::config::{TEMPLATES, schema};
use crate::model::Cost;
use crate::model::zoo::{self, Listing};

use super::arguments::Command;
use super::{JobError, extract, footprint, inspect, probe};

/// Runs `command` and prints its answer.
pub fn run(command: &Command) -> Result<(), JobError> {
    match command {
        Command::Schema => print(&format!("{:#}\n", schema())),
        Command::Init { name } => init(name.as_deref()),
        Command::Probe => probe::serve(),
        Command::Models { grid, json } => models(*grid, *json),
        Command::Inspect { file, json, verify } => inspect::run(file, *json, *verify),
        Command::Extract { archive, variables, times, z, y, x, coarsen, salvage, output } => {
            let ranges = [times, z, y, x].map(Option::as_deref);
            let coarsen = *coarsen;
            extract::run(&extract::Request { archive, variables, ranges, coarsen, salvage: *salvage, output })
        }
    }
}

fn init(name: Option<&str>) -> Result<(), JobError> {
    let list = || TEMPLATES.iter().map(|t| format!("{:<12} {}\n", t.name, t.about)).collect::<String>();
    let Some(name) = name else { return print(&list()) };
    match TEMPLATES.iter().find(|template| template.name == name) {
        Some(template) => print(template.text),
        None => {
            let reason = format!("there is no job file of that name; there are\n{}", list().trim_end());
            Err(JobError::Argument { argument: format!("init {name}"), reason })
        }
    }
}

/// Architectures at their defaults, for one variable on this grid.
fn models(grid: [usize; 3], as_json: bool) -> Result<(), JobError> {
    let all = zoo::list(grid);
    if as_json {
        let training = |cost: &Cost| footprint::train(cost, [grid.iter().product(), 0], [1, 1]);
        let line = |listing: &Listing| match &listing.built {
            Ok((latent, cost)) => json!({
                "name": listing.name, "latent": latent.len(), "params": cost.params,
                "flops": cost.encode_flops + cost.decode_flops, "memory_bytes": training(cost),
                "decoder_params": cost.decoder_params, "decode_flops": cost.decode_flops,
            }),
            Err(refused) => json!({ "name": listing.name, "refused": refused.to_string() }),
        };
        return print(&format!("{:#}\n", all.iter().map(line).collect::<serde_json::Value>()));
    }
    let mut text = format!("For one variable on {} x {} x {} cells:\n\n", grid[0], grid[1], grid[2]);
    text += "name           parameters   in decoder   latent   GFLOP per decode   GFLOP per training sample\n";
    for Listing { name, about, built } in all {
        text += &match built {
            Ok((latent, cost)) => format!(
                "{name:<12} {:>12} {:>12} {:>8} {:>18.3} {:>27.3}\n",
                cost.params,
                cost.decoder_params,
                latent.len(),
                cost.decode_flops as f64 * 1e-9,
                cost.train_flops as f64 * 1e-9,
            ),
            Err(refused) => format!("{name:<12} {refused}\n"),
        };
        text += &format!("             {about}\n");
    }
    print(&text)
}

/// Prints to stdout; a reader that closes the pipe early (`| head`) is no error.
pub fn print(text: &str) -> Result<(), JobError> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(source) if source.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(JobError::Unwritable { path: "standard output".into(), source })
        }
        _ => Ok(()),
    }
}
