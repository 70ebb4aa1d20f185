//! The way to a peer: where it is ([`endpoints`]), how well it goes ([`stamp`], [`loss`]), whether it goes at all ([`health`]).

pub mod endpoints;
pub mod health;
pub mod loss;
pub mod stamp;
