//! A cable that delays, loses, reorders and doubles what passes, each way on its own, changed while it is in use.
//!
//! ```text
//!   host a ─ TAP ──► Way (loss, rate, delay, order) ──► TAP ─ host b
//!                ◄── Way (its own conditions)       ◄──
//! ```
//!
//! | file | is |
//! |---|---|
//! | `conditions` | what a way does to frames: plain data |
//! | `loss` | which frames are lost: each on its own, or in bursts |
//! | `way` | one direction: a queue over a clock that the caller reads, and a seeded generator. Pure |
//! | `cable` | two TAPs, and a thread each way that moves frames through a `Way` |
//!
//! The kernel needs nothing for it (netem is often not built in). Each way is a thread that makes two system calls a
//! frame and keeps time to a millisecond: good for hundreds of megabits, and for what tests ask.

mod cable;
mod conditions;
mod loss;
mod way;

pub use cable::{Direction, Link};
pub use conditions::{Conditions, Loss, Reordering};
pub use way::{Counts, Way};
