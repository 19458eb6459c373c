//! Classes of failure and their exit codes.

use crate::archive::{ArchiveError, ErrorClass};
use crate::assimilate::AssimilateError;
use crate::codec::CodecError;
use crate::dataset::DatasetError;

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

pub(super) fn of_dataset(error: &DatasetError) -> Class {
    match error {
        DatasetError::Archive(error) => of_archive(error),
        DatasetError::NoSamples | DatasetError::GroupMismatch { .. } | DatasetError::Unstackable { .. } => Class::Input,
        DatasetError::Diverged { .. } => Class::Numerics,
        DatasetError::MoreRanksThanShards { .. }
        | DatasetError::MoreRanksThanSlabs { .. }
        | DatasetError::TooManyPlaces { .. } => Class::Usage,
    }
}

pub(super) fn of_codec(error: &CodecError) -> Class {
    match error {
        CodecError::BoundMissing | CodecError::BoundNotPositive { .. } => Class::Usage,
        CodecError::Verification { .. } | CodecError::RateNotReachable { .. } => Class::Numerics,
        _ => Class::Input,
    }
}

pub(super) fn of_archive(error: &ArchiveError) -> Class {
    match error.class() {
        ErrorClass::Input => Class::Input,
        ErrorClass::Output => Class::Output,
    }
}

pub(super) fn of_assimilate(error: &AssimilateError) -> Class {
    match error {
        AssimilateError::NoObservations { .. }
        | AssimilateError::ReadObservations { .. }
        | AssimilateError::MissingColumn { .. }
        | AssimilateError::BadObservation { .. }
        | AssimilateError::UnequalColumns { .. }
        | AssimilateError::NoSpread => Class::Input,
        AssimilateError::NotFinite { .. }
        | AssimilateError::Analysis { .. }
        | AssimilateError::LineSearch { .. }
        | AssimilateError::NotConverged { .. }
        | AssimilateError::NotPositive { .. }
        | AssimilateError::NoSingularValues
        | AssimilateError::GradientTest { .. }
        | AssimilateError::AdjointTest { .. } => Class::Numerics,
    }
}
