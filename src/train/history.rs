//! What is remembered of the epochs.

/// One finished epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Epoch {
    /// Number, from 1.
    pub epoch: u32,
    /// Loss per sample, mean over the epoch, each batch before its step.
    pub loss_train: f64,
    /// Loss per sample of the validation part, after the epoch; NaN if it was not validated.
    pub loss_valid: f64,
    /// Relative L2 error of the validation part, physical units; NaN if it was not validated.
    pub rel_l2_valid: f64,
    /// Bits of the latent values of a sample of the validation part, under the prior; NaN if they were not counted.
    pub bits_valid: f64,
    /// Gradient norm of the last step.
    pub gradient_norm: f64,
    /// Wall time of the epoch, s; all its interrupted parts.
    pub seconds: f64,
}

/// Sums over the epoch under way.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Running {
    /// Loss.
    pub loss: f64,
    /// Samples.
    pub samples: f64,
    /// Gradient norm of the last step.
    pub gradient_norm: f64,
    /// Wall time, s.
    pub seconds: f64,
}

/// Numbers of an [`Epoch`] in a checkpoint.
pub(super) const COLUMNS: usize = 7;

/// Epochs as a table, one row each.
pub(super) fn to_table(epochs: &[Epoch]) -> Vec<f64> {
    let row = |e: &Epoch| {
        let valid = [e.loss_valid, e.rel_l2_valid, e.bits_valid];
        [f64::from(e.epoch), e.loss_train, valid[0], valid[1], valid[2], e.gradient_norm, e.seconds]
    };
    epochs.iter().flat_map(row).collect()
}

/// Epochs of a table.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(super) fn of_table(table: &[f64]) -> Vec<Epoch> {
    let row = |r: &[f64]| Epoch {
        epoch: r[0] as u32, // written from a u32
        loss_train: r[1],
        loss_valid: r[2],
        rel_l2_valid: r[3],
        bits_valid: r[4],
        gradient_norm: r[5],
        seconds: r[6],
    };
    table.chunks_exact(COLUMNS).map(row).collect()
}
