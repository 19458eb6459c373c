//! libnetcdf brings an HDF5 library, and it need not be the one this program calls: Debian has a NetCDF for MPICH only with
//! an HDF5 without MPI. The two live side by side (their symbols have versions), but the crates silence only their own.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ptr::null;

use hdf5_metno_sys::h5i::hid_t;
use netcdf_sys as sys;

/// `H5Eset_auto2(stack, function, data)`.
type SetAuto = unsafe extern "C" fn(hid_t, *const c_void, *const c_void) -> c_int;

/// Keeps the HDF5 library below libnetcdf from printing on this thread what it then reports by a status. Under the lock.
pub(super) fn on_this_thread() {
    thread_local!(static SILENT: Cell<bool> = const { Cell::new(false) });
    if SILENT.replace(true) {
        return;
    }
    let address = sys::nc_inq_libvers as *const c_void;
    let mut found = libc::Dl_info {
        dli_fname: null(),
        dli_fbase: std::ptr::null_mut(),
        dli_sname: null(),
        dli_saddr: std::ptr::null_mut(),
    };
    // SAFETY: the address is a function of libnetcdf, so the library is loaded and its name ends with NUL; asked from its
    // handle, the symbol is the one that libnetcdf sees; the function has this signature in every HDF5 since 1.8. Stack 0
    // is the thread's own, and no function means that nothing is printed.
    unsafe {
        if libc::dladdr(address, &mut found) == 0 {
            return;
        }
        let library = libc::dlopen(found.dli_fname, libc::RTLD_LAZY | libc::RTLD_NOLOAD);
        let set_auto = if library.is_null() { library } else { libc::dlsym(library, c"H5Eset_auto2".as_ptr()) };
        if !set_auto.is_null() {
            std::mem::transmute::<*mut c_void, SetAuto>(set_auto)(0, null(), null());
        }
    }
}
