//! The device: buffers and kernels.
