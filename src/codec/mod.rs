//! Values to streams of bytes under an error bound, and back: arrays in, bytes out.
//!
//! ```text
//! Values + bound (+ what a model expects) ─► encode_tile ─► tile stream, mask, report
//! tile stream + mask (+ the same expectation) ─► decode_tile ─► Values          symbols ⇄ encode_latent, decode_latent
//! ```
//!
//! * `tile` puts a stream together and verifies it, `specials` finds what is not coded, `draft`, `scaled` and `contest`
//!   choose how, `rate` and `waves` under bounds on size and spectrum (encoder only), `container` specifies the bytes;
//! * `chart` maps numbers to those that are coded, `mask` keeps what is not a number, `bound` says what is promised, `lattice` turns residuals into numbers, `warp` is
//!   the logarithmic scale of point-wise relative bounds;
//! * `interpolate` (over `ladder` and `stencil`), `lorenzo`, `lossless`, `mirror` and `counts` (images of a detector) predict;
//!   `fit` finds their weights; `rings` (over `geometry` and `levels`) keeps what a measurement is worth; `center` finds the
//!   beam, `defects` pixels that measured nothing (encoder only);
//! * `linear` codes what the transform of `lapped` makes of blocks, band by band (`bands`), holes filled by `fill`;
//! * `context` chooses the table of each residual, `symbol` splits it, `entropy` codes it; `latent` does so for latents,
//!   `sparse` for those that are mostly zero.
//!
//! Invariants: no clock, no randomness, no device, no threads; a decoder uses only IEEE addition, multiplication, division,
//! square roots and comparison and integer tables that are stored, so it gives the same bits on every machine; nothing read from a
//! stream is trusted before it is checked.

mod bands;
mod bound;
mod bytes;
mod center;
mod chart;
mod container;
mod contest;
mod context;
mod counts;
mod defects;
mod draft;
mod entropy;
mod error;
mod field;
mod fill;
mod fit;
mod geometry;
mod interpolate;
mod ladder;
mod lapped;
mod latent;
mod lattice;
mod levels;
mod linear;
mod lines;
mod lorenzo;
mod lossless;
mod mask;
mod mirror;
mod rate;
mod rings;
mod sample;
mod scaled;
mod sparse;
mod specials;
mod stencil;
mod symbol;
mod tile;
mod verify;
mod warp;
mod waves;
mod weights;

pub use bound::{Bound, Limits};
pub use container::{Hash, Method, check, hash};
pub use error::CodecError;
pub use latent::{
    HYPER_UNIT, HyperDecoder, HyperLatents, LatentShape, decode_latent, decode_latent_under, decode_weights,
    encode_latent, encode_latent_under, encode_weights,
};
pub use mask::Mask;
pub use rings::RingError;
pub use tile::{CodedTile, Predictor, TileFrame, TileReport, TileSpec};
pub use tile::{decode_tile, decoding_bytes, encode_tile, needs_prediction, verify_tile, work_bytes};
