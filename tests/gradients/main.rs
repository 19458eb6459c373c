//! Every op in f64: finite difference, adjoint, second order; fused ops against their composition; bits.

#[path = "../common/mod.rs"]
mod common;

mod harness;
mod loss;
mod relations;
mod table;

use harness::Case;

/// Finite difference, adjoint and second order of every row whose name starts with `family`.
fn check(family: &str) {
    let cases: Vec<Case> = table::cases().into_iter().filter(|case| case.name.starts_with(family)).collect();
    assert!(!cases.is_empty(), "no case of {family}");
    for case in cases {
        harness::check(&case);
    }
}

#[test]
fn arithmetic_derivatives_are_exact() {
    check("arithmetic");
}

#[test]
fn activation_derivatives_are_exact() {
    check("activation");
}

#[test]
fn gate_derivatives_are_exact() {
    check("gate");
}

#[test]
fn sum_and_expand_derivatives_are_exact() {
    check("reduce");
}

#[test]
fn layout_derivatives_are_exact() {
    check("layout");
}

#[test]
fn matmul_derivatives_are_exact() {
    check("matmul");
}

#[test]
fn convolution_derivatives_are_exact() {
    check("convolution");
}

#[test]
fn norm_derivatives_are_exact() {
    check("norm");
}

#[test]
fn network_derivatives_are_exact() {
    check("network");
}

#[test]
fn recomputed_derivatives_are_exact() {
    check("recomputed");
}

#[test]
fn every_op_has_a_row_in_the_table() {
    let mut seen = std::collections::BTreeSet::new();
    for case in table::cases() {
        seen.extend(harness::forward_ops(&case).iter().map(table::name));
    }
    let missing: Vec<_> = table::NAMES.iter().filter(|name| !seen.contains(*name)).collect();
    assert!(missing.is_empty(), "ops without a row: {missing:?}");
}
