//! Runs the program as a user does, alone or under mpirun, in a folder of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::common::mpirun::{IS_OPEN_MPI, launcher};

/// How a run ended.
pub struct Run {
    /// Exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// A fresh folder for the test `name`.
pub fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("jobs").join(name);
    let _not_there_yet = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path.canonicalize().unwrap()
}

/// Writes `text` to the file `name` in `folder`.
pub fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// `sci-hpc ARGUMENTS` in `folder`, without mpirun.
pub fn sci_hpc(folder: &Path, arguments: &[&str]) -> Run {
    run(Command::new(env!("CARGO_BIN_EXE_sci-hpc")).args(arguments).current_dir(folder))
}

/// `sci-hpc ARGUMENTS` in `folder`, without mpirun, left running; standard error goes to the file `log` there.
pub fn spawn(folder: &Path, arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sci-hpc"));
    let log = std::fs::File::create(folder.join("log")).unwrap();
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    command.spawn().unwrap()
}

/// `mpirun -n RANKS sci-hpc ARGUMENTS` in `folder`; `inject` is the value of `SCI_HPC_INJECT` (empty: none).
pub fn mpirun(folder: &Path, ranks: usize, inject: &str, arguments: &[&str]) -> Run {
    run(&mut mpirun_command(folder, ranks, inject, arguments))
}

fn mpirun_command(folder: &Path, ranks: usize, inject: &str, arguments: &[&str]) -> Command {
    let mut command = launcher(ranks);
    command.arg(env!("CARGO_BIN_EXE_sci-hpc")).args(arguments).args(["--threads", "1"]);
    command.current_dir(folder).env("SCI_HPC_INJECT", inject);
    command
}

/// The same, where no file of rank `only` (of any rank, if `None`) may grow beyond `bytes`: a full disk, for any user.
pub fn limited(folder: &Path, ranks: usize, (only, bytes): (Option<usize>, u64), arguments: &[&str]) -> Run {
    let rank = only.map_or_else(String::new, |rank| format!(":rank={rank}"));
    let mut command = mpirun_command(folder, ranks, &format!("limit:{bytes}{rank}"), arguments);
    // MPICH would let one rank of a node write for all of them.
    let hints = folder.join("romio-hints");
    write(folder, "romio-hints", "cb_config_list *:*\ncb_nodes 1024\nromio_cb_write enable\n");
    run(command.env("ROMIO_HINTS", hints))
}

/// What [`mpirun`] runs, word by word.
pub fn mpirun_words(folder: &Path, ranks: usize, arguments: &[&str]) -> Vec<String> {
    let command = mpirun_command(folder, ranks, "", arguments);
    let all = std::iter::once(command.get_program()).chain(command.get_args());
    all.map(|word| word.to_str().expect("plain text").to_string()).collect()
}

/// A run under way.
pub struct Running {
    child: Child,
    log: PathBuf,
    started: Instant,
}

/// Starts what [`mpirun`] runs and comes back; standard error goes to the file `log` in `folder`.
pub fn background(folder: &Path, ranks: usize, inject: &str, arguments: &[&str]) -> Running {
    let log = folder.join("log");
    let mut command = mpirun_command(folder, ranks, inject, arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(std::fs::File::create(&log).unwrap());
    Running { child: command.spawn().unwrap(), log, started: Instant::now() }
}

/// Sends the signal `name` to the launcher of a run, which passes it on to the ranks; or to the ranks, as srun does, where
/// the launcher is Hydra: that of MPICH 4.0.2 passes it on, and then reports 0 once in five times whatever they report.
pub fn signal(running: &Running, name: &str) {
    if *IS_OPEN_MPI {
        return kill(name, running.child.id());
    }
    // The first rank that ends takes the others with it: one of them is still there to hear the signal.
    let heard = running.ranks().into_iter().filter(|&rank| is_killed(name, rank)).count();
    assert!(heard > 0, "no rank is left to hear {name}");
}

/// Sends the signal `name` to a process, by the shell: `kill` itself is not on every machine.
pub fn kill(name: &str, process: u32) {
    assert!(is_killed(name, process));
}

fn is_killed(name: &str, process: u32) -> bool {
    Command::new("sh").args(["-c", &format!("kill -{name} {process}")]).status().unwrap().success()
}

impl Running {
    /// Process numbers of the ranks: the children of the launcher, or of the helper that it starts (Hydra's proxy).
    pub fn ranks(&self) -> Vec<u32> {
        let children = children(self.child.id());
        let is_rank = |id: &u32| {
            std::fs::read_to_string(format!("/proc/{id}/comm")).is_ok_and(|name| name.trim_end() == "sci-hpc")
        };
        let (ranks, helpers): (Vec<u32>, Vec<u32>) = children.into_iter().partition(is_rank);
        ranks.into_iter().chain(helpers.into_iter().flat_map(self::children).filter(is_rank)).collect()
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until the log holds `words`; gives up after five minutes, of a machine with much else to do.
    #[track_caller]
    pub fn wait_for(&self, words: &str) {
        while !self.text().contains(words) {
            assert!(self.started.elapsed() < Duration::from_secs(300), "`{words}` is not in\n{}", self.text());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for the end.
    pub fn wait(mut self) -> Run {
        let code = self.child.wait().unwrap().code();
        Run { code, stdout: String::new(), stderr: self.text() }
    }
}

/// A test that fails leaves no job behind.
impl Drop for Running {
    fn drop(&mut self) {
        let _has_ended = self.child.kill();
        let _has_ended = self.child.wait();
    }
}

/// The processes that a process has started; none if it has ended.
fn children(id: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    children.split_whitespace().map(|child| child.parse().unwrap()).collect()
}

fn run(command: &mut Command) -> Run {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Run { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

impl Run {
    /// Asserts the exit code and that standard error holds every one of `words`.
    #[track_caller]
    pub fn refused(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "`{word}` is not in\n{}", self.stderr);
        }
    }

    /// Asserts exit code 0 and gives standard output.
    #[track_caller]
    pub fn answer(&self) -> &str {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        &self.stdout
    }
}
