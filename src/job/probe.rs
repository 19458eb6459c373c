//! The first opening of every input, in a process of its own: a malformed file can crash the libraries that read it, or
//! hold them for ever, and one such file must not end the job unnamed.
//!
//! ```text
//! job:   request (one line) ─► child: "ready", then a line per file: null, or what is wrong with it
//!        no line in time, or the end of the child ─► the file is at fault; another child goes on behind it
//! ```
//!
//! The child reads headers and, of each variable, the first and the last values. It knows nothing of MPI, and ends when
//! the job does. Damage further inside a file is met later, by the stage that reads it.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::archive::{Archive, ArchiveError, Box4, Source, Variable};
use crate::config::{Data, Job, OnBadFile};

use super::command::print;
use super::{Input, JobError, failure, groups};

/// An input that is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadFile {
    /// Its name among the inputs.
    pub name: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// What the child is to do.
#[derive(Serialize, Deserialize)]
struct Request {
    data: Data,
    /// Whether the files go into archives.
    archived: bool,
    files: Vec<PathBuf>,
}

/// Splits the inputs into those that can be opened and those that are left out.
///
/// Errors: the first that cannot be opened, with `data.on_bad_file: error` or if there is no other; no child can be started.
pub(super) fn sort_out(job: &Job, inputs: Vec<Input>) -> Result<(Vec<Input>, Vec<BadFile>), JobError> {
    let reasons = examine(job, &inputs)?;
    divide(job, inputs, reasons)
}

/// The same of archives: their hashes stand between damage and the library, so that it needs no child.
///
/// Errors: as of inputs. Where others would be done without them, their streams are checked too, which reads them whole;
/// else a damaged stream is found by who decodes it.
pub(super) fn sort_out_archives(job: &Job, archives: Vec<Input>) -> Result<(Vec<Input>, Vec<BadFile>), JobError> {
    let skip = job.data.on_bad_file == OnBadFile::Skip;
    let check = |archive: &Input| {
        let archive = Archive::open(&archive.path)?;
        if skip { archive.check_streams() } else { Ok(()) }
    };
    let reasons = archives.iter().map(|archive| check(archive).err().map(|e| e.to_string())).collect();
    divide(job, archives, reasons)
}

/// Leaves out the files for which there is a reason.
fn divide(job: &Job, files: Vec<Input>, reasons: Vec<Option<String>>) -> Result<(Vec<Input>, Vec<BadFile>), JobError> {
    let count = reasons.iter().flatten().count();
    let refuse = count == files.len() || job.data.on_bad_file == OnBadFile::Error;
    if let Some(reason) = reasons.iter().flatten().next().filter(|_| refuse) {
        return Err(JobError::BadInput { reason: reason.clone(), others: count - 1 });
    }
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for (file, reason) in files.into_iter().zip(reasons) {
        match reason {
            None => good.push(file),
            Some(reason) => bad.push(BadFile { name: file.name, reason }),
        }
    }
    Ok((good, bad))
}

/// What is wrong with each file, if anything; up to the first bad one, if that ends the job.
fn examine(job: &Job, inputs: &[Input]) -> Result<Vec<Option<String>>, JobError> {
    let limit = Duration::from_secs_f64(job.data.open_limit_s);
    let mut found: Vec<Option<String>> = Vec::with_capacity(inputs.len());
    while let Some(left) = inputs.get(found.len()..).filter(|left| !left.is_empty()) {
        let files = left.iter().map(|input| input.path.clone()).collect();
        let request = Request { data: job.data.clone(), archived: job.compress.is_some(), files };
        let mut probe = Probe::start(&request)?;
        for input in left {
            let answer = probe.answer(limit);
            let end = answer.is_err();
            found.push(answer.unwrap_or_else(|fault| Some(format!("{}: {fault}", input.path.display()))));
            if job.data.on_bad_file == OnBadFile::Error && matches!(found.last(), Some(Some(_))) {
                return Ok(found);
            }
            if end {
                break;
            }
        }
    }
    Ok(found)
}

/// A child at work.
struct Probe {
    child: Child,
    /// Open as long as the job lives.
    _input: ChildStdin,
    lines: Receiver<String>,
}

impl Drop for Probe {
    fn drop(&mut self) {
        // It may have ended by itself; where the system cannot end it, nobody waits for it.
        let _ = self.child.kill();
        let _ = self.child.try_wait();
    }
}

impl Probe {
    /// Starts a child and hands it the request.
    fn start(request: &Request) -> Result<Self, JobError> {
        const READY: Duration = Duration::from_secs(60); // to load the program, on a busy file system too
        let failed = |source| JobError::NoProbe { source };
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command.arg("probe").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        // Where the launcher's variables are, MPI would take the child for one of the ranks.
        let of_launcher =
            |name: &str| ["OMPI_", "PMIX_", "PMI_", "PRTE_", "HYDRA_"].iter().any(|p| name.starts_with(p));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(of_launcher)) {
            command.env_remove(name);
        }
        let mut child = command.spawn().map_err(failed)?;
        let mut input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let (send, lines) = channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        let text = serde_json::to_string(request).expect("plain data");
        input.write_all(format!("{text}\n").as_bytes()).map_err(failed)?;
        let probe = Self { child, _input: input, lines };
        match probe.lines.recv_timeout(READY) {
            Ok(line) if line == "ready" => Ok(probe),
            _ => Err(failed(std::io::Error::other("it does not answer"))),
        }
    }

    /// The answer on the next file; `Err`: why there will be no more answers.
    fn answer(&mut self, limit: Duration) -> Result<Option<String>, String> {
        loop {
            match self.lines.recv_timeout(limit) {
                // A library may print lines of its own.
                Ok(line) => match serde_json::from_str(&line) {
                    Ok(answer) => return Ok(answer),
                    Err(_) => continue,
                },
                Err(RecvTimeoutError::Timeout) => {
                    return Err(format!(
                        "opening it takes more than {} s (data.open_limit_s): malformed, or on a slow file system",
                        limit.as_secs_f64()
                    ));
                }
                Err(RecvTimeoutError::Disconnected) => return Err(self.end()),
            }
        }
    }

    /// How the child ended.
    fn end(&mut self) -> String {
        let how = match self.child.wait() {
            Ok(status) => match status.signal() {
                Some(signal) => format!("signal {signal}"),
                None => format!("exit code {}", status.code().unwrap_or_default()),
            },
            Err(e) => e.to_string(),
        };
        format!("opening it crashes the library that reads it ({how}): the file is malformed")
    }
}

/// The child: answers the request on standard input.
pub(super) fn serve() -> Result<(), JobError> {
    limit_resources();
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line).map_err(|source| JobError::NoProbe { source })?;
    let request: Request = match serde_json::from_str(&line) {
        Ok(request) if read > 0 => request,
        _ => {
            let reason = "is started by a job; to look into a file, use `sci-hpc inspect FILE`".into();
            return Err(JobError::Argument { argument: "probe".into(), reason });
        }
    };
    std::thread::spawn(|| {
        // Nothing more comes: this returns when the job is gone, whatever a library does at that moment.
        let _ = std::io::stdin().lock().read(&mut [0]);
        // SAFETY: ends the process without touching what other threads hold.
        unsafe { libc::_exit(0) }
    });
    print("ready\n")?;
    for file in &request.files {
        failure::inject_on(file);
        let wrong = look(&request, file).err().map(|e| e.to_string());
        print(&format!("{}\n", serde_json::to_string(&wrong).expect("a text")))?;
    }
    Ok(())
}

/// Reads the headers of a file, and the ends of its variables.
fn look(request: &Request, file: &Path) -> Result<(), ArchiveError> {
    let source = Source::open_with(file, &groups::reading(&request.data))?;
    let selected = source.select(groups::names(&request.data))?;
    if request.archived {
        source.check_archivable(&selected)?;
        for other in source.all_variables().filter(|v| v.count() > 0) {
            // Only whether it survives: what is not coded is copied as it lies, also if it cannot be decoded here.
            let _ = read_ends(&source, other);
        }
    }
    selected.into_iter().try_for_each(|variable| read_ends(&source, variable))
}

/// Reads the first values and the last row of a variable.
fn read_ends(source: &Source, variable: &Variable) -> Result<(), ArchiveError> {
    const VALUES: usize = 1024;
    let [t, z, y, x] = variable.shape;
    let n = x.min(VALUES);
    for start in [[0; 4], [t - 1, z - 1, y - 1, x - n]] {
        source.read(variable, &Box4 { start, len: [1, 1, 1, n] })?;
    }
    Ok(())
}

/// A malformed file must not take the memory of the node, nor leave a core file behind.
fn limit_resources() {
    const MEMORY_BYTES: libc::rlim_t = 16 << 30; // chunks, packed and unpacked; of an archive of fields a fraction of that
    for (what, bytes) in [(libc::RLIMIT_AS, MEMORY_BYTES), (libc::RLIMIT_CORE, 0)] {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: reads and writes the struct; a limit that cannot be lowered stays as it is.
        unsafe {
            if libc::getrlimit(what, &mut limit) == 0 {
                limit.rlim_cur = bytes.min(limit.rlim_max);
                libc::setrlimit(what, &limit);
            }
        }
    }
}
