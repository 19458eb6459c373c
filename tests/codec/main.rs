//! The codec from outside: round trips, the promise on every value, golden bytes, damage.
//!
//! Golden bytes are in `tests/data/codec_v1.txt`, written by `golden_bytes_append` (ignored: it adds cases, and what is there
//! stays).

mod damage;
mod fields;
mod golden;
mod latents;
mod physics;
mod promise;
mod quality;
mod rate;
