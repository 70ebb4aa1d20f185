//! Scenarios: the real binary on networks made of namespaces. They need root; each one has a world of its own, so
//! they run side by side.

#![forbid(unsafe_code)]

mod itself;
