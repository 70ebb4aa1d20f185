//! One file per kind of measurement, and the suite of them all.

pub(crate) mod echo;
pub(crate) mod iperf;
pub(crate) mod metric;
pub(crate) mod suite;
