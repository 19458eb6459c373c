//! Start values.

use sci_hpc::config;
use sci_hpc::model::init::start_values;
use sci_hpc::model::{Shape, zoo};

#[test]
fn start_values_are_uniform_within_the_bound_of_each_layer() {
    let graph = zoo::build(&config::Model::default(), Shape { grid: [32, 32, 32], channels: 1 }).unwrap();
    let values = start_values(&graph, 7);
    for (name, fan_in) in [("encoder.conv4.weight", 64 * 27), ("decoder.conv5.weight", 16 * 27)] {
        let spec = graph.params.specs().iter().find(|s| s.name == name).unwrap();
        let (drawn, bound) = (&values[spec.range()], 1.0 / f64::from(fan_in).sqrt());
        let n = drawn.len() as f64;
        let mean = drawn.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let variance = drawn.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / n;
        let largest = drawn.iter().fold(0.0, |a, v| f64::from(v.abs()).max(a));
        // Four standard errors; the variance of U(-b, b) is b^2 / 3.
        assert!(mean.abs() < 4.0 * bound / (3.0 * n).sqrt(), "{name}: mean {mean}");
        assert!((variance * 3.0 / bound.powi(2) - 1.0).abs() < 4.0 / n.sqrt(), "{name}: variance {variance}");
        assert!(largest <= bound && largest > 0.99 * bound, "{name}: {largest} of {bound}");
    }
    let slopes = graph.params.specs().iter().filter(|s| s.name.ends_with("slope"));
    assert!(slopes.flat_map(|s| &values[s.range()]).all(|&v| v == 0.25));
    assert_eq!(values, start_values(&graph, 7));
    assert_ne!(values, start_values(&graph, 8));
}
