//! Attributes of NetCDF files and variables.

use std::ffi::{CStr, c_char, c_int};

use netcdf_sys as sys;

use super::{NcResult, c_name, call, element_of, name_of, xtype_of};
use crate::archive::Values;
use crate::archive::attributes::{AttributeValue, Attributes};
use crate::archive::variable::with_slice;

fn attribute_names(group: c_int, variable: c_int) -> NcResult<Vec<String>> {
    let mut n = 0;
    // SAFETY: the pointer is valid.
    call(|| unsafe {
        if variable == sys::NC_GLOBAL {
            sys::nc_inq_natts(group, &mut n)
        } else {
            sys::nc_inq_varnatts(group, variable, &mut n)
        }
    })?;
    // SAFETY: the buffer holds NC_MAX_NAME + 1 bytes.
    (0..n).map(|i| name_of(|buffer| unsafe { sys::nc_inq_attname(group, variable, i, buffer) })).collect()
}

pub(super) fn read_attributes(group: c_int, variable: c_int) -> NcResult<Attributes> {
    let names = attribute_names(group, variable)?;
    let read = |name: String| {
        let value = read_attribute(group, variable, &name)?;
        Ok((if name == LOOSE_FILL { FILL.into() } else { name }, value))
    };
    names.into_iter().map(read).collect::<NcResult<_>>().map(Attributes)
}

fn read_attribute(group: c_int, variable: c_int, name: &str) -> NcResult<AttributeValue> {
    let c_name = c_name(name)?;
    let (mut xtype, mut len) = (0, 0);
    // SAFETY: the name ends with NUL; the pointers are valid.
    call(|| unsafe { sys::nc_inq_att(group, variable, c_name.as_ptr(), &mut xtype, &mut len) })?;
    if let Some(element) = element_of(xtype) {
        let mut values = Values::zeros(element, len);
        // SAFETY: the vector has room for the numbers of this type told above.
        with_slice!(&mut values, out => call(|| unsafe {
            sys::nc_get_att(group, variable, c_name.as_ptr(), out.as_mut_ptr().cast())
        }))?;
        return Ok(AttributeValue::Numbers(values));
    }
    match xtype {
        sys::NC_CHAR => {
            let mut text = vec![0u8; len];
            // SAFETY: the vector has room for the characters told above.
            call(|| unsafe { sys::nc_get_att_text(group, variable, c_name.as_ptr(), text.as_mut_ptr().cast()) })?;
            let end = text.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1);
            Ok(AttributeValue::Text(String::from_utf8_lossy(&text[..end]).into_owned()))
        }
        sys::NC_STRING => read_strings(group, variable, &c_name, len),
        _ => Ok(AttributeValue::Other),
    }
}

fn read_strings(group: c_int, variable: c_int, name: &CStr, len: usize) -> NcResult<AttributeValue> {
    let mut strings = vec![std::ptr::null_mut::<c_char>(); len];
    // SAFETY: the vector has room for the strings told by the inquiry.
    call(|| unsafe { sys::nc_get_att_string(group, variable, name.as_ptr(), strings.as_mut_ptr()) })?;
    let text = |&s: &*mut c_char| {
        // SAFETY: the library filled the vector with NUL-terminated strings or null.
        if s.is_null() { String::new() } else { unsafe { CStr::from_ptr(s) }.to_string_lossy().into_owned() }
    };
    let texts: Vec<String> = strings.iter().map(text).collect();
    // SAFETY: the strings belong to us and are freed once.
    call(|| unsafe { sys::nc_free_string(len, strings.as_mut_ptr()) })?;
    Ok(AttributeValue::Text(texts.join("\n")))
}

pub(super) fn write_attributes(group: c_int, variable: c_int, attributes: &Attributes) -> NcResult<()> {
    for (name, value) in &attributes.0 {
        let name = c_name(name)?;
        match value {
            // SAFETY: the name ends with NUL; the text has the length that is passed.
            AttributeValue::Text(text) => call(|| unsafe {
                sys::nc_put_att_text(group, variable, name.as_ptr(), text.len(), text.as_ptr().cast())
            })?,
            AttributeValue::Numbers(values) => {
                let xtype = xtype_of(values.element());
                // SAFETY: the name ends with NUL; the buffer holds as many numbers of this type as are passed.
                with_slice!(values, numbers => call(|| unsafe {
                    sys::nc_put_att(group, variable, name.as_ptr(), xtype, numbers.len(), numbers.as_ptr().cast())
                }))?;
            }
            AttributeValue::Other => {}
        }
    }
    Ok(())
}

/// Copies every attribute to a variable of another file, or between files (`NC_GLOBAL`).
///
/// Classic files may hold a `_FillValue` of any type and length, NetCDF-4 files only one value of the variable's type: any
/// other has the name [`LOOSE_FILL`] there.
pub(super) fn copy_attributes(from: (c_int, c_int), to: (c_int, c_int)) -> NcResult<()> {
    for name in attribute_names(from.0, from.1)? {
        if name == LOOSE_FILL {
            copy_attribute_as((from, &name), (to, FILL))?;
        } else if name == FILL && !is_fill_of_variable(from)? {
            copy_attribute_as((from, &name), (to, LOOSE_FILL))?;
        } else {
            let name = c_name(&name)?;
            // SAFETY: both files are open; the name ends with NUL.
            call(|| unsafe { sys::nc_copy_att(from.0, from.1, name.as_ptr(), to.0, to.1) })?;
        }
    }
    Ok(())
}

const FILL: &str = "_FillValue";
/// Name in archives of a `_FillValue` that NetCDF-4 does not take.
const LOOSE_FILL: &str = "_sci_hpc_FillValue";

/// Whether the `_FillValue` of a variable is one value of its type.
fn is_fill_of_variable((group, variable): (c_int, c_int)) -> NcResult<bool> {
    let name = c_name(FILL)?;
    let (mut own, mut xtype, mut len) = (0, 0, 0);
    if variable != sys::NC_GLOBAL {
        // SAFETY: the pointer is valid.
        call(|| unsafe { sys::nc_inq_vartype(group, variable, &mut own) })?;
        // SAFETY: the name ends with NUL; the pointers are valid.
        call(|| unsafe { sys::nc_inq_att(group, variable, name.as_ptr(), &mut xtype, &mut len) })?;
    }
    Ok(variable == sys::NC_GLOBAL || (xtype, len) == (own, 1))
}

/// Copies an attribute of a classic type under another name.
fn copy_attribute_as((from, name): ((c_int, c_int), &str), (to, new): ((c_int, c_int), &str)) -> NcResult<()> {
    let (name, new) = (c_name(name)?, c_name(new)?);
    let (mut xtype, mut len) = (0, 0);
    // SAFETY: the name ends with NUL; the pointers are valid.
    call(|| unsafe { sys::nc_inq_att(from.0, from.1, name.as_ptr(), &mut xtype, &mut len) })?;
    // 64-bit words, so that numbers of every type are aligned.
    let words = (len * element_of(xtype).map_or(1, |e| e.size())).div_ceil(8);
    let mut values = vec![0u64; words];
    // SAFETY: the vector has room for the values of this type told above, and holds them for the second call.
    call(|| unsafe { sys::nc_get_att(from.0, from.1, name.as_ptr(), values.as_mut_ptr().cast()) })?;
    // SAFETY: as above.
    call(|| unsafe { sys::nc_put_att(to.0, to.1, new.as_ptr(), xtype, len, values.as_ptr().cast()) })
}
