//! One file per kind of measurement.

pub(crate) mod echo;
