//! What can go wrong between a background and an analysis.

use std::path::PathBuf;

/// Errors of `assimilate`; each says what to change.
#[derive(Debug, thiserror::Error)]
pub enum AssimilateError {
    /// Nothing was left to assimilate.
    #[error("{path} holds no observation inside the grid and outside the mask: check its coordinates")]
    NoObservations {
        /// The observation file.
        path: PathBuf,
    },
    /// All training states are equal.
    #[error(
        "the training states do not vary: a background covariance needs at least two different states; leave constant \
         variables out of data.variables"
    )]
    NoSpread,
    /// The observation file could not be read.
    #[error("cannot read observations from {path}: {source}")]
    ReadObservations {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A column that must be there is not.
    #[error(
        "{path} has no column `{column}` (found: {found}); a header names x, y, z, value, sigma and perhaps t, variable"
    )]
    MissingColumn {
        /// The observation file.
        path: PathBuf,
        /// The column.
        column: &'static str,
        /// Columns that are there.
        found: String,
    },
    /// Two lists of a NetCDF observation file belong to different numbers of observations.
    #[error("{path}: `{first}` and `{other}` differ in length; each observation has one number in every list")]
    UnequalColumns {
        /// The observation file.
        path: PathBuf,
        /// A list.
        first: String,
        /// Another.
        other: String,
    },
    /// A cell of the observation file is not what it should be.
    #[error("{path}, line {line}: `{text}` in column `{column}` is not {expected}")]
    BadObservation {
        /// The observation file.
        path: PathBuf,
        /// Line, from 1; in a NetCDF file the record, from 1.
        line: usize,
        /// The column.
        column: String,
        /// What stands there.
        text: String,
        /// What was expected.
        expected: &'static str,
    },
    /// The cost or its gradient is not finite.
    #[error(
        "the cost is not finite (J {cost}, iteration {iteration}): the states, observations or latents hold \
         non-finite values"
    )]
    NotFinite {
        /// Iteration of the minimizer, from 0.
        iteration: usize,
        /// The cost.
        cost: f64,
    },
    /// An analysis that is not finite although its cost is: what maps it to a state is to blame.
    #[error(
        "the analysis of test state {position} holds values that are not finite: the decoder gives them; look at the \
         losses of the training, and train again with a lower train.learning_rate"
    )]
    Analysis {
        /// Among the test states, from 0.
        position: usize,
    },
    /// The line search found no lower point although the stop test does not hold.
    #[error(
        "the line search failed in iteration {iteration} (J {cost:e}, largest gradient component {gradient:e}): \
         raise assimilate.tolerance, or take minimizer closed-form"
    )]
    LineSearch {
        /// Iteration of the minimizer, from 0.
        iteration: usize,
        /// The cost.
        cost: f64,
        /// max |g|
        gradient: f64,
    },
    /// The iterations ran out.
    #[error(
        "the minimizer has not converged in {iterations} iterations (J {cost:e}, largest gradient component \
         {gradient:e}): raise assimilate.iterations_max or assimilate.tolerance"
    )]
    NotConverged {
        /// Iterations done.
        iterations: usize,
        /// The cost.
        cost: f64,
        /// max |g|
        gradient: f64,
    },
    /// The normal matrix has a pivot that is not positive.
    #[error("the normal matrix of the closed form is not positive definite (pivot {pivot}): raise assimilate.alpha")]
    NotPositive {
        /// Row of the pivot.
        pivot: usize,
    },
    /// A small factor has no singular value decomposition (non-finite values).
    #[error("the singular values of the ensemble do not converge: the training states hold non-finite values")]
    NoSingularValues,
    /// The gradient test failed.
    #[error(
        "gradient test: (J(w + e h) - J(w - e h)) / (2 e g·h) is off 1 by {deviation:e} at best, more than {limit:e}: \
         cost and gradient do not belong together"
    )]
    GradientTest {
        /// min over e of |ratio - 1|.
        deviation: f64,
        /// What is allowed.
        limit: f64,
    },
    /// The adjoint test failed.
    #[error("adjoint test: <G w, q> and <w, Gᵀ q> differ by {deviation:e} relative, more than {limit:e}")]
    AdjointTest {
        /// |difference| / (|G w| |q|)
        deviation: f64,
        /// What is allowed.
        limit: f64,
    },
}
