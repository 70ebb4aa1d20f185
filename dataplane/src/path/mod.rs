//! The way to a peer: where it is ([`endpoints`]), how well it goes ([`stamp`], [`loss`]), whether it goes at all ([`health`]), how large a packet it
//! takes ([`pmtu`]), and whether what leaves together arrives ([`runs`]).

pub mod endpoints;
pub mod health;
pub mod loss;
pub mod pmtu;
pub mod runs;
pub mod stamp;
