//! The way to a peer: where it is ([`endpoints`]), how well it goes, how large a packet it takes ([`pmtu`]), and whether what
//! leaves together arrives ([`runs`]).
//!
//! How well it goes is measured and judged by [`probing`], from these:
//!
//! | file | is |
//! |---|---|
//! | [`stamp`] | probes and answers on the wire |
//! | [`underway`] | which answers are missing |
//! | [`misses`] | how many may be missing before that says something |
//! | [`loss`] | loss of each way |
//! | [`rtt`] | round trips and the variation of delay |
//! | [`quality`] | whether a path that works works well |
//! | [`health`] | the state, from all of that |
//! | [`window`] | counts over 10 s, 1 min and 5 min |

pub mod endpoints;
pub mod health;
pub mod loss;
pub mod misses;
pub mod pmtu;
pub mod probing;
pub mod quality;
pub mod rtt;
pub mod runs;
pub mod stamp;
pub mod underway;
pub mod window;
