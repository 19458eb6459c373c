//! Commented job files to start from: the runnable ones of `configs/`, baked in.

/// A job file to start from.
#[derive(Debug, Clone, Copy)]
pub struct Template {
    /// What `sci-hpc init` calls it.
    pub name: &'static str,
    /// One line on what it does.
    pub about: &'static str,
    /// The file.
    pub text: &'static str,
}

/// All of them.
pub const TEMPLATES: &[Template] = &[
    Template {
        name: "quickstart",
        about: "every stage on a small simulated flow, minutes on two cores",
        text: include_str!("../../configs/quickstart.yaml"),
    },
    Template {
        name: "compress",
        about: "your files under an error bound, no training",
        text: include_str!("../../configs/compress.yaml"),
    },
    Template {
        name: "urban-flow",
        about: "wind past buildings: train, compress and assimilate on the published grid",
        text: include_str!("../../configs/urban-flow.yaml"),
    },
    Template {
        name: "turbulence",
        about: "forced turbulence by a spectral method: generate, train on its velocity, compress",
        text: include_str!("../../configs/turbulence.yaml"),
    },
    Template {
        name: "sas",
        about: "images of small-angle scattering: I(q) within the noise of its measurement, at a hundredth of the bytes",
        text: include_str!("../../configs/sas.yaml"),
    },
    Template {
        name: "assimilate",
        about: "3D-Var on a series of your fields",
        text: include_str!("../../configs/assimilate.yaml"),
    },
];
