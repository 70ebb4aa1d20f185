//! What fuzzing feeds: one plain function a parser, over any bytes, that panics when a promise breaks.
//!
//! The same bodies run twice: by `tests/tests/fuzz.rs` over a bounded number of mutated valid inputs, in
//! every test run and on a stable compiler; and by the cargo-fuzz crate in `tests/fuzz`, for as long as
//! somebody lets it. An input that once broke something is kept in `tests/fuzz/regressions/<target>/`.

mod check;
mod control;
mod fitting;
mod gossip;
mod lane;
mod merging;
mod mutate;
mod packets;
mod record;
mod trust;
mod uapi;

pub use check::check;
pub use control::control;
pub use fitting::fit;
pub use gossip::gossip_guard;
pub use lane::lane;
pub use merging::merge;
pub use mutate::Mutator;
pub use packets::{demux, packet};
pub use record::record;
pub use trust::{grant_chain, revocation, token};
pub use uapi::uapi;

/// One parser under test.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Name of the cargo-fuzz target and of the folders with its inputs.
    pub name: &'static str,
    /// Takes any bytes; panics only when something is wrong with the code.
    pub body: fn(&[u8]),
    /// Valid inputs, from which mutation starts.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Inputs a second, roughly, in a test build: what bounds a run.
    pub per_second: usize,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target {
        name: "token",
        body: token,
        seeds: trust::token_seeds,
        per_second: 3_000,
    },
    Target {
        name: "grant_chain",
        body: grant_chain,
        seeds: trust::grant_chain_seeds,
        per_second: 3_000,
    },
    Target {
        name: "revocation",
        body: revocation,
        seeds: trust::revocation_seeds,
        per_second: 6_000,
    },
    Target {
        name: "gossip_guard",
        body: gossip_guard,
        seeds: gossip::seeds,
        per_second: 10_000,
    },
    Target {
        name: "record",
        body: record,
        seeds: record::seeds,
        per_second: 2_000,
    },
    Target {
        name: "demux",
        body: demux,
        seeds: packets::demux_seeds,
        per_second: 100_000,
    },
    Target {
        name: "check",
        body: check,
        seeds: check::seeds,
        per_second: 50_000,
    },
    Target {
        name: "control",
        body: control,
        seeds: control::seeds,
        per_second: 50_000,
    },
    Target {
        name: "packet",
        body: packet,
        seeds: packets::packet_seeds,
        per_second: 50_000,
    },
    Target {
        name: "merge",
        body: merge,
        seeds: merging::seeds,
        per_second: 30_000,
    },
    Target {
        name: "fit",
        body: fit,
        seeds: fitting::seeds,
        per_second: 20_000,
    },
    Target {
        name: "uapi",
        body: uapi,
        seeds: uapi::seeds,
        per_second: 5_000,
    },
    Target {
        name: "lane",
        body: lane,
        seeds: lane::seeds,
        per_second: 10_000,
    },
];
