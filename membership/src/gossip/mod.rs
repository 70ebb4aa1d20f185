//! Gossip: what is allowed in, and how it travels.

pub mod guard;
