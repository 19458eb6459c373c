//! The kernel files, inside the binary.

/// A kernel file.
#[derive(Debug)]
pub struct Source {
    /// Its name below `kernels/`.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
    /// Element types it is compiled for.
    pub elements: &'static [&'static str],
}

macro_rules! source {
    ($file:literal, $elements:expr) => {
        Source { name: $file, text: include_str!(concat!("../../../kernels/", $file)), elements: $elements }
    };
}

const BOTH: &[&str] = &["f32", "f64"];

/// Files that kernel files include.
pub const HEADERS: [(&str, &str); 2] = [
    ("common.cuh", include_str!("../../../kernels/common.cuh")),
    ("exponential.cuh", include_str!("../../../kernels/exponential.cuh")),
];

/// Arithmetic, activations, gate.
pub static ELEMENTWISE: Source = source!("elementwise.cu", BOTH);
/// Sums over the middle axis and their adjoint.
pub static REDUCE: Source = source!("reduce.cu", BOTH);
/// Windows and concatenation.
pub static LAYOUT: Source = source!("layout.cu", BOTH);
/// Updates of the parameters.
pub static OPTIMIZE: Source = source!("optimize.cu", BOTH);
/// Values of random streams.
pub static RANDOM: Source = source!("random.cu", BOTH);
/// Sparse latents: the largest of every sample, lists of what is not zero.
pub static TOPK: Source = source!("topk.cu", BOTH);

/// All of them: every one is compiled for every architecture in `tests/kernels`.
pub static ALL: [&Source; 6] = [&ELEMENTWISE, &REDUCE, &LAYOUT, &OPTIMIZE, &RANDOM, &TOPK];
