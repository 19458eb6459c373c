//! What runs without a job: in one process, without MPI and without a GPU.

use std::io::Write;

use crate::config::{TEMPLATES, schema};
use crate::model::zoo;

use super::arguments::Command;
use super::{JobError, extract, inspect, probe};

/// Runs `command` and prints its answer.
pub fn run(command: &Command) -> Result<(), JobError> {
    match command {
        Command::Schema => print(&format!("{:#}\n", schema())),
        Command::Init { name } => init(name.as_deref()),
        Command::Models => models(),
        Command::Probe => probe::serve(),
        Command::Inspect { file, json, verify } => inspect::run(file, *json, *verify),
        Command::Extract { archive, variables, times, output } => {
            extract::run(&extract::Request { archive, variables, times: times.as_deref(), output })
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

/// Architectures at their defaults on the grid of the published experiments.
fn models() -> Result<(), JobError> {
    const GRID: [usize; 3] = [91, 85, 32];
    let mut text = format!("For one variable on {} x {} x {} cells:\n\n", GRID[0], GRID[1], GRID[2]);
    text += "name           parameters   in decoder   latent   GFLOP per decode   GFLOP per training sample\n";
    for model in zoo::list(GRID)? {
        let cost = model.cost;
        text += &format!(
            "{:<12} {:>12} {:>12} {:>8} {:>18.3} {:>27.3}\n             {}\n",
            model.name,
            cost.params,
            cost.decoder_params,
            model.latent.len(),
            cost.decode_flops as f64 * 1e-9,
            cost.train_flops as f64 * 1e-9,
            model.about
        );
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
