//! Admission: who is let in, and by whom.

pub mod decide;
pub mod ledger;
