//! IDX and raw files. First byte: odd for raw numbers of a fixed description, even for IDX; then the file.
#![no_main]

mod file;

use libfuzzer_sys::fuzz_target;
use sci_hpc::archive::{Box4, Reading, Source};
use sci_hpc::config::{ByteOrder, Number, Raw};

fuzz_target!(|data: &[u8]| {
    let Some((&kind, bytes)) = data.split_first() else { return };
    let raw = |order| Raw { shape: vec![2, 3, 4], number: Number::F32, order, variable: "u".into(), units: String::new() };
    let raw = match kind % 4 {
        1 => Some(raw(ByteOrder::Little)),
        3 => Some(raw(ByteOrder::Big)),
        _ => None,
    };
    let path = file::holding("flat", bytes);
    // Without the magic of IDX the libraries would read it; they are not what is tested.
    if raw.is_none() && !bytes.starts_with(&[0, 0]) {
        return;
    }
    let Ok(source) = Source::open_with(&path, &Reading { raw, ..Reading::default() }) else { return };
    for variable in source.select(None).unwrap_or_default() {
        let _may_be_damaged = source.read(variable, &Box4::whole(variable.shape));
    }
});
