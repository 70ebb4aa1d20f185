//! What a person sees: failures, tables, colours, sizes, durations and progress.
//!
//! Results go to stdout, everything said beside them (hints, progress, failures) to stderr, so that
//! `meshnode invite > token` and `meshnode peers --json | jq` work without filters.

pub mod clock;
pub mod console;
pub mod duration;
pub mod failure;
pub mod progress;
pub mod size;
pub mod style;
pub mod table;
pub mod wrap;

pub use console::Console;
pub use failure::Failure;
