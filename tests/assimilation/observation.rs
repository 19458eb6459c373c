//! Files of observations.

use std::path::Path;

use sci_hpc::assimilate::AssimilateError;
use sci_hpc::assimilate::observation::{ObservedAt, Record, fractional_index, read_csv};

fn records(text: &str) -> Result<Vec<Record>, AssimilateError> {
    read_csv(Path::new("obs.csv"), text)?.records()
}

#[test]
fn csv_of_places_values_and_sigmas_is_read() {
    let found = records("# a network\nx, y, z, t, value, sigma\n1.5,2,3, 40, -7e-1, 0.1 # mast\n\n").unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].place, [Some(3.0), Some(2.0), Some(1.5)]);
    assert_eq!((found[0].value, found[0].sigma, found[0].is_index), (-0.7, 0.1, false));
    assert_eq!(found[0].time, ObservedAt::Time(40.0));
    let found = records("i,step,variable,value,sigma\n4,2,u,1,2\n").unwrap();
    assert_eq!(found[0].place, [None, None, Some(4.0)]);
    assert!(found[0].is_index && found[0].variable.as_deref() == Some("u"));
    assert_eq!(found[0].time, ObservedAt::Step(2.0));
}

#[test]
fn csv_that_is_not_right_is_refused_with_its_line() {
    let message = |text: &str| records(text).unwrap_err().to_string();
    assert!(message("x,y,z,value\n1,1,1,1\n").contains("no column `sigma`"));
    let sigma = message("# a network\n\nx,value,sigma\n1,1,1\n1,1,0\n");
    assert!(sigma.contains("a standard deviation above 0") && sigma.contains("line 5"), "{sigma}");
    assert!(message("x,value,sigma\n1,one,0\n").contains("line 2: `one`"));
    assert!(message("x,value,sigma\n1,1\n").contains("one value per column"));
    assert!(message("x,value,sigma\n1,nan,1\n").contains("a finite number"));
    assert!(message("").contains("no column `value`"));
}

#[test]
fn fractional_index_inverts_rising_and_falling_coordinates() {
    for coordinates in [vec![0.0, 1.0, 3.0, 7.0], vec![10.0, 4.0, 3.0, -1.0]] {
        for i in 0..coordinates.len() {
            assert!((fractional_index(&coordinates, coordinates[i]).unwrap() - i as f64).abs() < 1e-15);
        }
        let middle = 0.5 * (coordinates[2] + coordinates[3]);
        assert!((fractional_index(&coordinates, middle).unwrap() - 2.5).abs() < 1e-15);
    }
    assert!((fractional_index(&[0.0, 2.0], -1.0).unwrap() + 0.5).abs() < 1e-15);
    assert!(fractional_index(&[5.0], 5.0).is_none());
}
