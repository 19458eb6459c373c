//! Layers, architectures, trained-model files.
