//! 3D-Var in control space, full and bi-reduced.
