//! Numbers of any type as they are in a file.

use sci_hpc::archive::{ElementType, Values};

#[test]
fn values_of_each_type_keep_bytes_and_type() {
    for element in [ElementType::I8, ElementType::U16, ElementType::I64, ElementType::F32, ElementType::F64] {
        let mut values = Values::zeros(element, 3);
        values.bytes_mut()[element.size()] = 1;
        assert_eq!((values.element(), values.len()), (element, 3));
        assert_eq!(values.bytes().len(), 3 * element.size());
        assert!(values.get_f64(1) != 0.0 && values.get_f64(2) == 0.0, "{element}");
    }
}

#[test]
fn integers_from_f64_round_and_clamp() {
    let values = Values::from_f64(ElementType::I8, &[1.5, -300.0, 2.4, f64::NAN]);
    assert_eq!(values, Values::I8(vec![2, -128, 2, 0]));
}
