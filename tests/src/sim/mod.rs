//! A mesh of many members in virtual time: every decision is the product's own, only sockets, threads and ciphers are missing.
//!
//! | file | is |
//! |---|---|
//! | `fabric` | links that delay, lose, reorder, or carry nothing one way |
//! | `member`, `life` | who a member is; what it runs on between a start and its end |
//! | `world` | time, and what passes between members |
//! | `model` | who should be reachable, by the simplest reasoning there is |
//! | `script` | random transitions, and what must hold after each and at rest |
//!
//! The same seed gives the same run, packet by packet.

pub mod fabric;
pub mod life;
pub mod member;
pub mod model;
pub mod script;
pub mod world;
