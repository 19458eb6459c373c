//! Split, normalize, batch; generators.
