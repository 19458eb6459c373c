//! What can go wrong between arrays and bytes.

/// Failure of coding or decoding; every variant says which stream or argument and what to do next.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CodecError {
    /// The bytes are not the ones that were written.
    #[error("{stream}: hash differs over {bytes} bytes: the file was truncated or changed; fetch it again")]
    HashDiffers {
        /// Which stream.
        stream: &'static str,
        /// Its length in bytes.
        bytes: usize,
    },
    /// A stream ends before a part that it announces.
    #[error("{stream}: ends inside its {part}; the file was truncated or written by a broken program")]
    Truncated {
        /// Which stream.
        stream: &'static str,
        /// What was being read.
        part: &'static str,
    },
    /// A number in a stream is outside of what the format allows.
    #[error("{stream}: {part} is {found}, allowed is at most {limit}; the stream is damaged or of a later version")]
    OutOfRange {
        /// Which stream.
        stream: &'static str,
        /// Which number.
        part: &'static str,
        /// Its value.
        found: u64,
        /// The largest allowed.
        limit: u64,
    },
    /// The stream was written by a later version of the format.
    #[error("{stream}: format version {found}, this program reads up to {supported}; use a newer sci-hpc")]
    Version {
        /// Which stream.
        stream: &'static str,
        /// Version found.
        found: u8,
        /// Latest version this program reads.
        supported: u8,
    },
    /// A tile refers to a mask that was not given, or of another shape.
    #[error(
        "tile stream: needs a mask over {expected} cells, found {found}; the index and the streams do not belong together"
    )]
    MaskMissing {
        /// Cells of the tile.
        expected: usize,
        /// Cells of the mask given (0: none).
        found: usize,
    },
    /// A tile was coded against a prediction that was not given.
    #[error("tile stream: coded against the reconstruction of a model; decode the latent stream of its group first")]
    PredictionMissing,
    /// Without a bound only a prediction can be kept, and there is none.
    #[error("no error bound and no prediction: set compress.error_bound, or give a model")]
    BoundMissing,
    /// A bound that is not a positive finite number.
    #[error("error bound {name} is {value}: it must be finite and above 0")]
    BoundNotPositive {
        /// The key of the job file.
        name: &'static str,
        /// What was given.
        value: f64,
    },
    /// A bound on I(q) over values that are no images of counts.
    #[error(
        "error_bound.iq_sigma is for images (y, x) of counts, numbers of 0 to 4294967295; here is {found}. Choose another \
         bound for this variable, or name pixels that are no measurements in a `mask` beside it or as _FillValue"
    )]
    NotCounts {
        /// What there is.
        found: String,
    },
    /// Not even the shortest stream of a tile is as short as its bits per value allow.
    #[error(
        "a tile of {values} values takes {least} bytes at least, error_bound.rate or ratio allow {allowed}: raise the rate, lower \
         the ratio, or take larger tiles (compress.tile)"
    )]
    RateNotReachable {
        /// Values of the tile.
        values: usize,
        /// Bytes of the shortest stream.
        least: usize,
        /// Bytes that are allowed.
        allowed: usize,
    },
    /// The decoder did not give back what the encoder promised (a bug; nothing was written).
    #[error(
        "verification on write failed for {violations} of the {values} values of a tile, first {index}: please report this"
    )]
    Verification {
        /// Values of the tile.
        values: usize,
        /// Values that break the promise; 0 if only the mean square of all does.
        violations: usize,
        /// The first of them.
        index: usize,
    },
}
