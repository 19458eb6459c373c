//! Models: equality with PyTorch (numbers of scripts/reference/autoencoders.py), the zoo, the exact decoder, model files.

#[path = "../common/mod.rs"]
mod common;
mod integer;
#[cfg(feature = "emulate")]
mod replay;
mod torch;
mod weights;
mod zoo;
