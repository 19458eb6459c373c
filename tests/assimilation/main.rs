//! 3D-Var against closed forms, against numbers of other programs, and against itself on other rank counts.

#[path = "../common/mod.rs"]
mod common;
mod toy;

mod analysis;
mod background;
mod latent;
mod layout;
mod observation;
mod oops;
mod posterior;
mod ranks;
mod scipy;
