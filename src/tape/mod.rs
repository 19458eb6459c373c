//! Derivatives over a closed op set.
