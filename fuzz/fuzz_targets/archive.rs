//! Whole archives: the seal is checked before HDF5 sees them, so changed ones are refused, or differ in a stream alone.
#![no_main]

mod file;

use libfuzzer_sys::fuzz_target;
use sci_hpc::archive::Archive;

fuzz_target!(|data: &[u8]| {
    let Ok(archive) = Archive::open(&file::holding("archive", data)) else { return };
    for group in archive.groups() {
        for record in archive.index(group).unwrap_or_default() {
            let _may_be_damaged = archive.read_stream(group, record);
        }
    }
    for part in archive.parts().unwrap_or_default() {
        let _may_be_damaged = archive.blob(&part);
    }
});
