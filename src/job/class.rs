//! Classes of failure and their exit codes.

/// Classes of failure; the number is the exit code of the process (design: exit codes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[repr(i32)]
pub enum Class {
    /// Arguments or job file: nothing was started.
    Usage = 2,
    /// Input data: missing, of the wrong shape or type, corrupt.
    Input = 3,
    /// Numerics: non-finite values, a bound out of reach, a minimizer that failed.
    Numerics = 4,
    /// Environment: GPU, MPI, memory.
    Environment = 5,
    /// Output that could not be written.
    Output = 6,
    /// A bug.
    Bug = 70,
    /// Stopped at a signal with a good checkpoint: requeue.
    Stopped = 75,
}

impl Class {
    /// The exit code.
    pub fn code(self) -> i32 {
        self as i32
    }
}
