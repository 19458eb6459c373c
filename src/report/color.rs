//! Color maps.
