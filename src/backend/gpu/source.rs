//! The kernel files, inside the binary.

/// A kernel file.
pub struct Source {
    /// Its name below `kernels/`.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
    /// Element types it is compiled for.
    pub elements: &'static [&'static str],
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

macro_rules! source {
    ($file:literal, $elements:expr) => {
        Source { name: $file, text: include_str!(concat!("../../../kernels/", $file)), elements: $elements }
    };
}

const BOTH: &[&str] = &["f32", "f64"];
const FLOAT: &[&str] = &["f32"];
const DOUBLE: &[&str] = &["f64"];

/// Files that kernel files include.
pub const HEADERS: [(&str, &str); 7] = [
    ("common.cuh", include_str!("../../../kernels/common.cuh")),
    ("exponential.cuh", include_str!("../../../kernels/exponential.cuh")),
    ("tile.cuh", include_str!("../../../kernels/tile.cuh")),
    ("window.cuh", include_str!("../../../kernels/window.cuh")),
    ("matmul.cuh", include_str!("../../../kernels/matmul.cuh")),
    ("conv3d.cuh", include_str!("../../../kernels/conv3d.cuh")),
    ("tensor.cuh", include_str!("../../../kernels/tensor.cuh")),
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

/// Latents to symbols and back.
pub static QUANTIZE: Source = source!("quantize.cu", BOTH);

/// Dense products.
pub static MATMUL: Source = source!("matmul.cu", BOTH);

/// The same on tensor cores.
pub static MATMUL_TENSOR: Source = source!("matmul_tensor.cu", FLOAT);

/// Convolution and its adjoints.
pub static CONV3D: Source = source!("conv3d.cu", BOTH);

/// The same on tensor cores.
pub static CONV3D_TENSOR: Source = source!("conv3d_tensor.cu", FLOAT);

/// Normalizations over channels.
pub static NORM: Source = source!("norm.cu", BOTH);

/// Lattice-Boltzmann steps.
pub static LATTICE: Source = source!("lattice.cu", DOUBLE);

/// All of them: every one is compiled for every architecture in `tests/kernels`.
pub static ALL: [&Source; 13] = [
    &ELEMENTWISE,
    &REDUCE,
    &LAYOUT,
    &OPTIMIZE,
    &RANDOM,
    &TOPK,
    &QUANTIZE,
    &MATMUL,
    &MATMUL_TENSOR,
    &CONV3D,
    &CONV3D_TENSOR,
    &NORM,
    &LATTICE,
];
