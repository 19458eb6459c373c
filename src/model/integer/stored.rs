//! How an exact decoder is stored.
//!
//! ```text
//! length u64, JSON: program, shapes, units; then of every affine op weights, biases, multipliers, each
//! length u64, bytes: integers of at most 2^26 as the caller's coder packs them: a folder above entropy-codes them
//! ```

use super::{Exact, IntegerDecoder, Sums, affine_of};
use crate::model::ModelError;

/// Version of this form; 1 had plain bytes.
pub(super) const VERSION: u32 = 2;

/// Packs integers of at most 2^26 that lie by (row, channel), channel fastest: the integers, rows and channels.
pub type Pack<'a> = &'a dyn Fn(&[i32], usize, usize) -> Vec<u8>;
/// Reads what [`Pack`] made: bytes, rows and channels; `None` if they are damaged or other ones.
pub type Unpack<'a> = &'a dyn Fn(&[u8], usize, usize) -> Option<Vec<i32>>;

impl IntegerDecoder {
    /// The decoder as bytes.
    pub fn to_bytes(&self, pack: Pack) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut put = |part: &[u8]| {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part);
        };
        put(&serde_json::to_vec(self).expect("a decoder is plain data"));
        for (op, node) in self.ops.iter().zip(&self.program.nodes) {
            let (Some(sums), Some((weight, _))) = (op.sums(), affine_of(&node.op)) else { continue };
            let (rows, channels) = self.rows(weight);
            put(&pack(&sums.weight, rows, channels));
            put(&pack(&sums.bias, sums.bias.len(), 1));
            put(&pack(&sums.multiplier, sums.bias.len(), 1));
        }
        bytes
    }

    /// Reads what [`IntegerDecoder::to_bytes`] made, and checks every length and every limit.
    ///
    /// Errors: [`ModelError::NotExact`], [`ModelError::BadGraph`], [`ModelError::Schema`].
    pub fn from_bytes(bytes: &[u8], unpack: Unpack) -> Result<Self, ModelError> {
        let short = || ModelError::NotExact { op: 0, reason: "the stored decoder is cut short or damaged" };
        let mut rest = bytes;
        let mut part = || {
            let (length, after) = rest.split_first_chunk::<8>()?;
            let (part, after) = after.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
            rest = after;
            Some(part)
        };
        let text = part().ok_or_else(short)?;
        let mut made: Self = serde_json::from_slice(text).map_err(|_| short())?;
        if made.schema != VERSION {
            return Err(ModelError::Schema { expected: VERSION, found: made.schema });
        }
        made.check_shapes()?;
        for i in 0..made.ops.len() {
            let Some((weight, bias)) = affine_of(&made.program.nodes[i].op) else { continue };
            let (shape, outputs) = (made.rows(weight), (made.params.range(bias).len(), 1));
            let mut integers =
                |(rows, channels)| part().and_then(|part| unpack(part, rows, channels)).ok_or_else(short);
            let (weight, bias, multiplier) = (integers(shape)?, integers(outputs)?, integers(outputs)?);
            let sums = made.ops[i].sums_mut().ok_or_else(short)?;
            *sums = Sums { weight, bias, multiplier, exponent: sums.exponent };
        }
        if !rest.is_empty() {
            return Err(short());
        }
        made.check()?;
        Ok(made)
    }

    /// Rows and channels of a parameter: its fastest extent, and all others.
    fn rows(&self, place: usize) -> (usize, usize) {
        let spec = &self.params.specs()[place];
        let channels = spec.shape.last().copied().unwrap_or(1).max(1);
        (spec.range().len() / channels, channels)
    }
}

impl Exact {
    fn sums(&self) -> Option<&Sums> {
        match self {
            Self::Affine { sums, .. } | Self::Output { sums, .. } => Some(sums),
            Self::Rectify { .. } | Self::Reshape => None,
        }
    }

    fn sums_mut(&mut self) -> Option<&mut Sums> {
        match self {
            Self::Affine { sums, .. } | Self::Output { sums, .. } => Some(sums),
            Self::Rectify { .. } | Self::Reshape => None,
        }
    }
}
