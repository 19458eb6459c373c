//! What runs without a job: in one process, without MPI and without a GPU.

use std::io::Write;

use crate::config::{TEMPLATES, schema};

use super::JobError;
use super::arguments::Command;

/// Runs `command` and prints its answer.
pub fn run(command: &Command) -> Result<(), JobError> {
    match command {
        Command::Schema => print(&format!("{:#}\n", schema())),
        Command::Init { name } => init(name.as_deref()),
        Command::Inspect { .. } | Command::Extract { .. } | Command::Models => Ok(()),
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

/// Prints to stdout; a reader that closes the pipe early (`| head`) is no error.
pub fn print(text: &str) -> Result<(), JobError> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(source) if source.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(JobError::Unwritable { path: "standard output".into(), source })
        }
        _ => Ok(()),
    }
}
