//! Measures of an error, by their formulas.

use sci_hpc::report::metrics::Quality;

#[test]
fn quality_of_known_errors_is_what_the_formulas_say() {
    let mut q = Quality::default();
    for (x, y) in [(0.0, 0.1), (1.0, 1.0), (2.0, 1.9), (3.0, 3.0)] {
        q.add(x, y);
    }
    let rmse = (0.02f64 / 4.0).sqrt();
    assert!((q.rmse() - rmse).abs() < 1e-15);
    assert!((q.nrmse() - rmse / 3.0).abs() < 1e-15);
    assert!((q.psnr_db().unwrap() + 20.0 * (rmse / 3.0).log10()).abs() < 1e-12);
    assert!((q.rel_l2() - (0.02f64 / 14.0).sqrt()).abs() < 1e-15);
    assert!((q.max_abs_error - 0.1).abs() < 1e-12);
}

#[test]
fn a_nan_error_is_not_lost() {
    let mut q = Quality::default();
    q.add(1.0, f64::NAN);
    q.add(1.0, 1.0);
    assert!(q.squared_error.is_nan() && q.rmse().is_nan());
}
