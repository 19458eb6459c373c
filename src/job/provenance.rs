//! Who ran what, where and when: `provenance.json`, the only place for paths, hosts and times.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use crate::archive::library_versions;
use crate::report::write_atomic;
use crate::world::World;

use super::{Context, JobError};

/// One line on the program: version and commit of the sources.
pub fn version() -> String {
    format!("sci-hpc {} ({})", env!("CARGO_PKG_VERSION"), env!("SCI_HPC_GIT"))
}

/// Host names by rank, on rank 0. Collective.
pub(super) fn hosts(world: &World) -> Vec<String> {
    world.host_names()
}

/// Writes `provenance.json` on rank 0. `runs` of one output are kept, the last one last.
pub(super) fn write(ctx: &Context, hosts: &[String], threads: usize, finished: bool) -> Result<(), JobError> {
    if !ctx.world.is_root() {
        return Ok(());
    }
    let path = ctx.output.file("provenance.json");
    let mut runs = std::fs::read(&path)
        .ok()
        .and_then(|text| serde_json::from_slice::<Value>(&text).ok())
        .and_then(|old| old.get("runs")?.as_array().cloned())
        .unwrap_or_default();
    if finished && let Some(Value::Object(run)) = runs.last_mut() {
        run.insert("end".into(), json!(utc(now_s())));
        run.insert("seconds".into(), json!(ctx.report.seconds()));
    } else {
        runs.push(this_run(ctx, hosts, threads));
    }
    let text = serde_json::to_string_pretty(&json!({ "runs": runs })).expect("JSON values print");
    Ok(write_atomic(&path, text.as_bytes())?)
}

fn this_run(ctx: &Context, hosts: &[String], threads: usize) -> Value {
    let slurm: Map<String, Value> =
        std::env::vars().filter(|(key, _)| key.starts_with("SLURM_")).map(|(key, value)| (key, json!(value))).collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "git": env!("SCI_HPC_GIT"),
        "mpi": ctx.world.library(),
        "libraries": library_versions().into_iter().map(|(name, version)| (name.into(), version.into())).collect::<Map<_, _>>(),
        "ranks": ctx.world.size(),
        "threads_per_rank": threads,
        "hosts": hosts,
        "command": std::env::args().collect::<Vec<_>>(),
        "folder": std::env::current_dir().unwrap_or_default(),
        "inputs": ctx.inputs.iter().map(|input| &input.path).collect::<Vec<_>>(),
        "start": utc(now_s()),
        "slurm": slurm,
    })
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Seconds since 1970 as `2026-01-31T23:59:59Z`; days to civil date by the 400-year cycle (Hinnant, chrono-compatible
/// low-level date algorithms).
pub(super) fn utc(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468; // days from 0000-03-01 to 1970-01-01
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn utc_knows_leap_days_and_turns_of_the_year() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc(1_735_689_599), "2024-12-31T23:59:59Z");
        assert_eq!(utc(1_772_323_200), "2026-03-01T00:00:00Z");
    }
}
