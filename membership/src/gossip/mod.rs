//! Gossip: what is allowed in, and how it travels.

pub mod guard;

pub(crate) mod chitchat_run;
pub(crate) mod dissemination;
pub(crate) mod rows;
pub(crate) mod sim;
pub(crate) mod supervisor;
pub(crate) mod transport;
