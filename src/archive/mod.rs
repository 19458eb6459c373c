//! HDF5 and NetCDF: fields in, files out.
