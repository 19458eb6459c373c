//! `--dry-run`: everything that can be known without computing.

use super::arguments::RunArguments;
use super::command::print;
use super::{JobError, prepare};

/// Checks the job and its inputs and prints what it would do on `arguments.ranks` ranks. Creates nothing.
pub fn dry_run(arguments: &RunArguments) -> Result<(), JobError> {
    let (job, inputs, archives) = prepare::check(arguments, arguments.ranks as usize)?;
    let mut text = format!("job {} -> {}\n", job.job.name, job.job.output.display());
    for stage in job.stages() {
        text += &format!("  {}\n", stage.as_str());
    }
    for input in inputs.iter().chain(&archives) {
        text += &format!("  reads {}\n", input.path.display());
    }
    print(&text)
}
