//! Admission: who is let in, and by whom.

pub mod decide;
pub mod ledger;

pub(crate) mod client;
pub(crate) mod server;

pub use client::enrol;
